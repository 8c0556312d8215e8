"""Quantised values and weights: integers, and the real numbers that they represent.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
(CVPR 2018), equation 1: real = scale * (integer - zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FloatType = type[np.float16] | type[np.float32]
"""Type in which a file stores scales and look-up tables."""


@dataclass(frozen=True)
class QuantParams:
    """Quantisation parameters of a value, one set for the whole tensor: scale * (q - zero_point), qmin <= q <= qmax."""

    scale: float
    zero_point: int
    qmin: int
    qmax: int

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest real number that can be represented."""
        return self.scale * (self.qmin - self.zero_point), self.scale * (self.qmax - self.zero_point)


@dataclass(frozen=True, eq=False)
class AffineQuantised:
    """Symmetrically quantised weights: signed integers times scales.

    Attributes:
        bits: Width of an integer.
        values: Integers in the weights' own shape; int8, of a bias int32.
        scale: Per output channel, (O, 1, ...), or per group of input channels, (O, I / group_size, 1, ...).
        group_size: Input channels that share a scale; None for one scale per output channel.
    """

    bits: int
    values: npt.NDArray[np.int8] | npt.NDArray[np.int32]
    scale: Array
    group_size: int | None = None

    def dequantise(self) -> Array:
        """The real weights, float64."""
        scale = self.scale if self.group_size is None else np.repeat(self.scale, self.group_size, axis=1)
        return self.values * scale


@dataclass(frozen=True, eq=False)
class Palettised:
    """Weights from a look-up table.

    Attributes:
        bits: Width of an index.
        values: Indices into the table, uint8, in the weights' own shape.
        table: The 2^bits real weights.
    """

    bits: int
    values: npt.NDArray[np.uint8]
    table: Array

    def dequantise(self) -> Array:
        """The real weights, float64."""
        return self.table[self.values]


Encoding = AffineQuantised | Palettised
