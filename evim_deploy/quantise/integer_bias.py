"""A bias that engines add to a sum of products of codes: an int32, in units of the two scales' product.

Rounded to them it moves a value by half a unit at the most, a hundredth of a grid's step; but a value next to a tie is
then rounded otherwise, so that the simulated network has to have it, too.

Source: Jacob et al. (CVPR 2018), section 2.4.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams

LARGEST_BIAS = 2.0**30
"""A bias's largest code: as much is left for the products."""

_LEAST_UNIT = 2.0**-120
"""A normal number of float32, with room for its rounding."""


def with_integer_bias(node: Node, taken: QuantParams) -> Node:
    """An operation whose kernel has codes, with an int32 bias where it has one.

    A channel of next to no weights has a scale so small that its bias would have no code, or that its unit would be no
    normal number: it gets a larger one.

    Args:
        node: With a kernel (O, ...) in integers, and a bias (O) or none.
        taken: The grid of what it takes.
    """
    kernel = cast("AffineQuantised", node.encodings["kernel"])
    own = kernel.scale.ravel()
    bias = node.weights.get("bias", np.zeros(len(own)))
    needed = np.maximum(np.abs(bias) / LARGEST_BIAS, _LEAST_UNIT) / taken.scale
    scale = np.where(needed > own, needed, own).astype(np.float32)
    if (needed > own).any():
        column = scale.astype(np.float64).reshape(kernel.scale.shape)
        codes = np.rint(node.weights["kernel"] / column).astype(np.int8)
        kernel = AffineQuantised(kernel.bits, codes, column)
    unit = (np.float32(taken.scale) * scale).astype(np.float64)
    biases = (
        {"bias": AffineQuantised(32, np.rint(bias / unit).astype(np.int32), unit)} if "bias" in node.weights else {}
    )
    return node.encoded(kernel=kernel, **biases)
