"""Choice of quantisation parameters for a range of real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evim_deploy.graph.quantised import FloatType, QuantParams


@dataclass(frozen=True)
class QuantRange:
    """The integers that a value of a graph is quantised to.

    Attributes:
        qmin: The smallest.
        qmax: The largest.
        is_symmetric: Whether the zero point is the middle of the range.
        headroom: Factor by which the calibrated range is widened.
    """

    qmin: int
    qmax: int
    is_symmetric: bool = False
    headroom: float = 1.0


EIGHT_BITS = QuantRange(0, 255)
"""Asymmetric uint8; a format whose type is int8 subtracts 128 from integers and zero point."""

SIXTEEN_BITS = QuantRange(-32767, 32767, is_symmetric=True, headroom=4.0)
"""Symmetric int16 of TFLite's 16x8 scheme; it has room for values beyond the calibrated range.

https://ai.google.dev/edge/litert/models/quantization_spec
"""


_MIN_SCALE = 2.0**-60
"""The product of two such scales is still a normal float32."""


def min_scale(dtype: FloatType) -> float:
    """The smallest scale that a file stores in a type: a normal number, because engines flush subnormal ones to 0."""
    return max(_MIN_SCALE, float(np.finfo(dtype).tiny))


def choose_qparams(low: float, high: float, quant_range: QuantRange, dtype: FloatType = np.float32) -> QuantParams:
    """The smallest scale, and its zero point, that represent a range and 0, which padding inserts.

    A range of zeros alone gets the smallest scale.

    Args:
        low: The smallest value of the range; above 0 it counts as 0.
        high: The largest value of the range; below 0 it counts as 0.
        quant_range: The integers to quantise to.
        dtype: Type in which a file stores the scale, ``numpy.float32`` or ``numpy.float16``.
    """
    qmin, qmax = quant_range.qmin, quant_range.qmax
    low, high = (quant_range.headroom * end for end in (min(low, 0.0), max(high, 0.0)))
    middle = (qmin + qmax + 1) // 2
    scale = max(-low, high) / (qmax - middle) if quant_range.is_symmetric else (high - low) / (qmax - qmin)
    scale = float(dtype(max(scale, min_scale(dtype))))
    zero_point = middle if quant_range.is_symmetric else round(qmin - low / scale)
    return QuantParams(scale, min(max(zero_point, qmin), qmax), qmin, qmax)
