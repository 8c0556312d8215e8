"""Integer biases: engines add an int32, whose unit is the product of the input's and the kernel's scale, to their sums.

Rounding a bias to this unit moves a value by at most a hundredth of the output's step. A value next to a tie may then
round the other way, so the simulated network has integer biases, too.

Source: Jacob et al. (CVPR 2018), section 2.4.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams

LARGEST_BIAS = 2.0**30
"""Largest integer of a bias, which leaves as much for the products."""

_MIN_UNIT = 2.0**-120
"""A normal float32, with room for its rounding."""


def with_integer_bias(node: Node, input_qparams: QuantParams) -> Node:
    """An operation with a quantised kernel and, where it has a bias, an int32 bias.

    A channel whose weights are all tiny has so small a scale that the bias would overflow, or that the unit would not
    be a normal number: it gets a larger scale.

    Args:
        node: An operation with a kernel (O, ...) in integers and an optional bias (O).
        input_qparams: Quantisation parameters of its input.
    """
    kernel = cast("AffineQuantised", node.encodings["kernel"])
    own = kernel.scale.ravel()
    bias = node.weights.get("bias", np.zeros(len(own)))
    needed = np.maximum(np.abs(bias) / LARGEST_BIAS, _MIN_UNIT) / input_qparams.scale
    scale = np.where(needed > own, needed, own).astype(np.float32)
    if (needed > own).any():
        column = scale.astype(np.float64).reshape(kernel.scale.shape)
        kernel = AffineQuantised(kernel.bits, np.rint(node.weights["kernel"] / column).astype(np.int8), column)
    unit = (np.float32(input_qparams.scale) * scale).astype(np.float64)
    biases = (
        {"bias": AffineQuantised(32, np.rint(bias / unit).astype(np.int32), unit)} if "bias" in node.weights else {}
    )
    return node.encoded(kernel=kernel, **biases)
