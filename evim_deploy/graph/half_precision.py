"""Rounding of weights, and of every norm's eps, to values that float16 represents.

All formats are written from the same rounded graph, so all of them hold the same numbers, and an artifact that
computes in float32 can be compared with this graph to float32's own accuracy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evim_deploy.common.errors import BadInput
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array

LARGEST_HALF = 65504.0
"""Largest finite float16."""


def round_to_half(graph: Graph) -> Graph:
    """The same operations with float64 weights that float16 represents exactly.

    Raises:
        BadInput: A weight is beyond float16's range.
    """
    return Graph(graph.input_name, map(_round_node, graph.nodes), graph.outputs, graph.qparams)


def _round_node(node: Node) -> Node:
    weights = {name: _round_weight(node.name, name, array) for name, array in node.weights.items()}
    eps = {"eps": float(np.float16(node.eps()))} if "eps" in node.attributes else {}
    return replace(node, weights=weights, attributes={**node.attributes, **eps})


def _round_weight(node: str, name: str, array: Array) -> Array:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16).astype(np.float64)
    if np.isinf(half).any():
        raise BadInput(
            f"The weights overflow float16: {name} of {node}, including the norms that are folded into it, "
            f"reaches {np.abs(array).max():.3g}; the largest float16 is {LARGEST_HALF:.0f}.",
            "Choose a precision that computes in float32.",
        )
    return half
