"""What integer codes stand for: of values that are rounded to a grid, and of weights in few bits.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference
(CVPR 2018), equation 1: value = scale * (code - zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class QuantParams:
    """What a quantised value is rounded to: scale * (code - zero point), with codes from ``least`` to ``most``."""

    scale: float
    zero_point: int
    least: int
    most: int

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value that it has."""
        return self.scale * (self.least - self.zero_point), self.scale * (self.most - self.zero_point)


@dataclass(frozen=True, eq=False)
class AffineQuantised:
    """Weights as signed integers times scales.

    Attributes:
        bits: Of a code.
        codes: In the weights' own shape; int8, of a bias int32.
        scale: Of each output channel, (O, 1, ...), or of each block of input channels, (O, I / block, 1, ...).
        block: Input channels that share a scale; None where all do.
    """

    bits: int
    codes: npt.NDArray[np.int8] | npt.NDArray[np.int32]
    scale: Array
    block: int | None = None

    def decoded(self) -> Array:
        """The weights that they stand for."""
        scale = self.scale if self.block is None else np.repeat(self.scale, self.block, axis=1)
        return self.codes * scale


@dataclass(frozen=True, eq=False)
class Palettised:
    """Weights as places in a table of 2^bits values; codes are uint8, in the weights' own shape."""

    bits: int
    codes: npt.NDArray[np.uint8]
    table: Array

    def decoded(self) -> Array:
        """The weights that they stand for."""
        return self.table[self.codes]


Encoding = AffineQuantised | Palettised
