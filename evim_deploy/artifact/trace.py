"""The trace of an artifact in an engine: names, weights and values of each operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SINGLE, HALF = 2.0**-24, 2.0**-11
"""Unit roundoff of float32 and float16: the largest relative error of one rounding."""

Arrays = tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True, kw_only=True)
class TracedOperation:
    """One operation of an artifact's file.

    Attributes:
        type: The format's name of its type.
        names: Its names in the file: a path in the model's own naming, in which a format may have replaced other
            marks by ``_``, or a name of the file's own. Several if operations were fused.
        weights: Its constant floats, float16 or float32 as in the file, in the format's layout.
        rounding: Unit roundoff of its outputs.
        accumulation: Unit roundoff of the arithmetic inside it.
    """

    type: str
    names: tuple[str, ...]
    weights: tuple[npt.NDArray[np.generic], ...]
    rounding: float
    accumulation: float


@dataclass(frozen=True)
class Trace:
    """An artifact's operations, and a function that computes their values on one batch of images.

    Attributes:
        operations: The operations in the order of their computation.
        compute: Takes the indices of the requested operations, each with the size of its outputs in bytes. Yields
            for each, in the file's order, its index and its outputs, float32, channels first. A format's own axes of
            length 1 stay.
    """

    operations: tuple[TracedOperation, ...]
    compute: Callable[[Mapping[int, int]], Iterator[tuple[int, Arrays]]]
