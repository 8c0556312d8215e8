"""What an engine tells of an artifact operation by operation: names, weights, and the values computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SINGLE, HALF = 2.0**-24, 2.0**-11
"""Unit roundoff of float32 and float16: the largest relative error of one rounding."""

Arrays = tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True, kw_only=True)
class TracedOperation:
    """One operation of an artifact's file.

    Attributes:
        type: As the format spells it.
        names: Under which the file has it: a path in the model's own naming, in which a format may have
            put ``_`` for other marks, or a name of the file's own. Several where operations were fused.
        weights: Its constant floats, float16 or float32 as the file stores them, in the format's layout.
        rounding: Unit roundoff of the values that it gives.
        accumulation: Unit roundoff of the arithmetic inside it.
    """

    type: str
    names: tuple[str, ...]
    weights: tuple[npt.NDArray[Any], ...]
    rounding: float
    accumulation: float


@dataclass(frozen=True)
class Trace:
    """An artifact's operations, and what gives their values on one batch of images.

    Attributes:
        operations: In the order of their computation.
        compute: Takes the operations whose values are wanted, by their index, with the bytes that these
            will take; gives for each, in the file's order, its index and its outputs, float32, channels
            first. A format's own axes of length 1 are left in.
    """

    operations: tuple[TracedOperation, ...]
    compute: Callable[[Mapping[int, int]], Iterator[tuple[int, Arrays]]]
