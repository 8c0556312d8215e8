"""Error bounds of fixed-point requantisation: kernels of integers rescale their sums without floating point.

A sum of products has a unit of its own, the product of its factors' scales. A kernel converts it to the scale of the
output in two steps: it multiplies by a fraction of 31 bits, rounds, shifts to the right, and rounds again. The first
rounding loses half a unit of the shifted number, at most a quarter of a step; it is negligible for sums in far finer
units. Means round their zero point, too.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (CVPR
2018), section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams

_WEIGHTS = {"conv": "kernel", "pointwise_conv": "kernel", "linear": "kernel", "scale": "scale"}
"""Operations that sum products with weights, and the name of these weights."""

_TWO_ROUNDINGS = 0.25
"""Largest loss of two roundings beyond the half step of a single one, in steps of the output."""

_LOST = {"add": 0.0, "shift": 0.0, "subtract": 0.0, "mean": _TWO_ROUNDINGS + 0.5}
"""The same by operation: terms are added in a millionth of a step, and a mean rounds its zero point separately.

LiteRT, tflite/kernels/internal/optimized/integer_ops/mean.h
"""


def requantisation_error_bound(node: Node, qparams: Mapping[str, QuantParams], output: QuantParams) -> float:
    """The largest difference that rounding may make to an operation's output, within the output's range.

    Args:
        node: The operation.
        qparams: Quantisation parameters of its inputs, by name.
        output: Quantisation parameters of its output, after the ReLU where that is its only consumer.
    """
    lost = _LOST.get(node.op, _TWO_ROUNDINGS) * output.scale
    return 0.5 * output.scale + min(_sum_unit(node, qparams), lost)


def _sum_unit(node: Node, qparams: Mapping[str, QuantParams]) -> float:
    """Unit of an operation's sums; 0 where it computes in floating point, infinite where it is unknown."""
    if node.op not in _WEIGHTS:
        return inf
    weights, x = node.encodings.get(_WEIGHTS[node.op]), qparams.get(node.inputs[0])
    return x.scale * float(weights.scale.max()) if x and isinstance(weights, AffineQuantised) else 0.0
