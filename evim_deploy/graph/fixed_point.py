"""How far from the exact value an integer may be that an engine gives: kernels of integers compute in fixed point.

A sum of products has a unit of its own, the product of its factors' scales. A kernel brings it to the unit of the grid
in two steps: it multiplies by a fraction of 31 bits, rounds, shifts to the right, and rounds again. What the first
rounding loses is half a unit of what is shifted, at most a quarter of a step; of sums in far finer units next to
nothing is left of it. Means round their zero point, too.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (CVPR
2018), section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams

_OWN_UNIT = {"conv": "kernel", "pointwise_conv": "kernel", "linear": "kernel", "scale": "scale"}
"""Sums of products with weights, and under what name they have these."""

_TWICE = 0.25
"""Steps that are lost at the most besides the half of rounding once."""

_LOST = {"add": 0.0, "shift": 0.0, "subtract": 0.0, "mean": _TWICE + 0.5}
"""The same by operation: terms are added in a millionth of a step, and a mean's zero point is rounded by itself.

LiteRT, tflite/kernels/internal/optimized/integer_ops/mean.h
"""


def explained(node: Node, qparams: Mapping[str, QuantParams], output: QuantParams) -> float:
    """By how much rounding may move what an operation gives on a grid, within the grid's range.

    Args:
        node: The operation.
        grids: By the names of the values that it takes.
        output: What its value is rounded to, after the ReLU where one alone takes it.
    """
    return 0.5 * output.scale + min(_unit(node, qparams), _LOST.get(node.op, _TWICE) * output.scale)


def _unit(node: Node, qparams: Mapping[str, QuantParams]) -> float:
    """Of an operation's sums; 0 where it computes in floating point, infinite where it is not known."""
    if node.op not in _OWN_UNIT:
        return inf
    weights, taken = node.encodings.get(_OWN_UNIT[node.op]), qparams.get(node.inputs[0])
    return taken.scale * float(weights.scale.max()) if taken and isinstance(weights, AffineQuantised) else 0.0
