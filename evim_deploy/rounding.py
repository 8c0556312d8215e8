"""The network as half precision stores it: every weight, and every norm's eps, at a value that fp16 has.

All formats are written from the same rounded graph, so all of them hold the same numbers, and what
an artifact computes in float32 can be compared with this graph to float32's own accuracy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evim_deploy.graph import Graph, Node


def rounded(graph: Graph) -> Graph:
    """The same operations with float64 weights that float16 represents exactly."""
    return Graph(graph.input_name, map(_rounded, graph.nodes), graph.outputs, graph.grids)


def _rounded(node: Node) -> Node:
    weights = {name: array.astype(np.float16).astype(np.float64) for name, array in node.weights.items()}
    eps = {"eps": float(np.float16(node.eps()))} if "eps" in node.attributes else {}
    return replace(node, weights=weights, attributes={**node.attributes, **eps})
