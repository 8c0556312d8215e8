"""The network as half precision stores it: every weight, and every norm's eps, at a value that fp16 has.

All formats are written from the same rounded graph, so all of them hold the same numbers, and what
an artifact computes in float32 can be compared with this graph to float32's own accuracy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evim_deploy.common.errors import BadInput
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array

LARGEST_HALF = 65504.0
"""Of float16."""


def rounded(graph: Graph) -> Graph:
    """The same operations with float64 weights that float16 represents exactly.

    Raises:
        BadInput: A weight is beyond float16's range.
    """
    return Graph(graph.input_name, map(_rounded, graph.nodes), graph.outputs, graph.qparams)


def _rounded(node: Node) -> Node:
    weights = {name: _half(node.name, name, array) for name, array in node.weights.items()}
    eps = {"eps": float(np.float16(node.eps()))} if "eps" in node.attributes else {}
    return replace(node, weights=weights, attributes={**node.attributes, **eps})


def _half(node: str, name: str, array: Array) -> Array:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16).astype(np.float64)
    if np.isinf(half).any():
        raise BadInput(
            f"The weights overflow float16: the {name} of {node}, with the norms that are folded into it, "
            f"reaches {np.abs(array).max():.3g}, and float16 ends at {LARGEST_HALF:.0f}.",
            "Choose a precision that computes in float32.",
        )
    return half
