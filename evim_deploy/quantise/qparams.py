"""The grid that fits a range of values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evim_deploy.graph.quantised import QuantParams


@dataclass(frozen=True)
class QuantRange:
    """Which codes a value of a graph may have.

    Attributes:
        least: The smallest.
        most: The largest.
        is_symmetric: Whether the code in the middle is the value 0, whatever the range.
        headroom: By how much a grid reaches beyond the range that was seen.
    """

    least: int
    most: int
    is_symmetric: bool = False
    headroom: float = 1.0


EIGHT_BITS = QuantRange(0, 255)
"""Asymmetric; a format whose type is int8 writes codes and zero point less 128."""

SIXTEEN_BITS = QuantRange(-32767, 32767, is_symmetric=True, headroom=4.0)
"""As TFLite's 16x8 scheme has them; they are many enough to leave room for what calibration did not see.

https://ai.google.dev/edge/litert/models/quantization_spec
"""


_LEAST = 2.0**-60
"""Of a scale: the product of two is still a normal number of float32."""


def least_scale(dtype: type[np.floating[Any]]) -> float:
    """The least scale of a grid that a file stores in a type, a normal number: engines take subnormal ones as 0."""
    return max(_LEAST, float(np.finfo(dtype).tiny))


def choose_qparams(
    least: float, greatest: float, codes: QuantRange, dtype: type[np.floating[Any]] = np.float32
) -> QuantParams:
    """The finest grid that reaches from one value to another and has 0, which padding puts in.

    Zeros alone get the least scale.

    Args:
        least: Of the values; above 0 it counts as 0.
        greatest: Likewise; below 0 it counts as 0.
        codes: Which there are.
        dtype: In which a file stores the scale, ``numpy.float32`` or ``numpy.float16``.
    """
    least, greatest = (codes.headroom * end for end in (min(least, 0.0), max(greatest, 0.0)))
    middle = (codes.least + codes.most + 1) // 2
    if codes.is_symmetric:
        scale = max(-least, greatest) / (codes.most - middle)
    else:
        scale = (greatest - least) / (codes.most - codes.least)
    scale = float(dtype(max(scale, least_scale(dtype))))
    zero = middle if codes.is_symmetric else round(codes.least - least / scale)
    return QuantParams(scale, min(max(zero, codes.least), codes.most), codes.least, codes.most)
