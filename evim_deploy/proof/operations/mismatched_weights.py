"""Compare arrays of weights whatever their layout: as sorted values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import Array

Stored = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array of a file; its values are sorted once for all comparisons."""

    array: Stored

    @cached_property
    def sorted_values(self) -> npt.NDArray[np.float32]:
        return np.sort(self.array.ravel().astype(np.float32))

    def without_repetition(self, weight: Array) -> StoredArray:
        """One repetition of a vector that a file repeats for each pixel of a row, if it is as long as the weight."""
        if weight.ndim != 1 or self.array.ndim != 1 or self.array.size % weight.size:
            return self
        rows = self.array.reshape(-1, weight.size)
        return StoredArray(rows[0]) if len(rows) > 1 and (rows == rows[0]).all() else self


@dataclass(frozen=True)
class MismatchedWeights:
    """An array of weights beside the reference's.

    Attributes:
        weight: Its name in the graph: ``kernel``, ``bias`` ...
        differing: How many of its values are not among the reference's.
        size: How many values it has.
        largest: The largest difference.
    """

    weight: str
    differing: int
    size: int
    largest: float

    def __str__(self) -> str:
        values = f"{self.differing} of {self.size} values of the {self.weight}"
        if self.differing == 1:
            return f"{values} differs, by {self.largest:.2g}"
        return f"{values} differ, by up to {self.largest:.2g}"


def mismatched_weights(nodes: Iterable[Node], stored: Sequence[Stored]) -> list[MismatchedWeights]:
    """The weights of some operations that a file has otherwise.

    Args:
        nodes: Operations of the graph, their weights at values that the file's type has.
        stored: Arrays that the file has for these, float16 or float32, in any layout.
    """
    return [stale for stale in beside(nodes, stored) if stale.differing]


def beside(nodes: Iterable[Node], stored: Sequence[Stored]) -> list[MismatchedWeights]:
    """Each weight against the file's; what has none of its size is left out."""
    arrays = [StoredArray(array) for array in stored]
    found = (nearest(name, weight, arrays) for node in nodes for name, weight in node.weights.items())
    return [stale for stale in found if stale]


def nearest(name: str, weight: Array, stored: Sequence[StoredArray]) -> MismatchedWeights | None:
    """A weight against the nearest of a file's arrays of its size."""
    equal = MismatchedWeights(name, 0, weight.size, 0.0)
    fitting = [each for each in (each.without_repetition(weight) for each in stored) if each.array.size == weight.size]
    expected = {dtype: _sorted_as(weight, dtype) for dtype in {each.array.dtype for each in fitting}}
    if any(np.array_equal(expected[each.array.dtype], each.sorted_values) for each in fitting):
        return equal
    found = (_difference(expected[each.array.dtype], each, equal) for each in fitting)
    return min(found, key=lambda stale: stale.differing, default=None)


def _sorted_as(weight: Array, dtype: np.dtype[Any]) -> npt.NDArray[np.float32]:
    """The values of a weight as a file of this type stores them."""
    with np.errstate(over="ignore"):
        return np.sort(weight.ravel().astype(dtype).astype(np.float32))


def _difference(a: npt.NDArray[np.float32], stored: StoredArray, subject: MismatchedWeights) -> MismatchedWeights:
    b = stored.sorted_values
    missing, surplus = _leftover(a, b), _leftover(b, a)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(missing - surplus)
        tolerance = np.spacing(np.maximum(np.abs(missing), np.abs(surplus)).astype(stored.array.dtype))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)[~(gaps <= tolerance)]  # as one who rounds twice may differ
    return replace(subject, differing=len(gaps), largest=float(gaps.max(initial=0.0)))


def _leftover(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The values of a that b does not have, as often as a has them more often; both sorted."""
    values, counts = np.unique(a, return_counts=True)
    others = np.searchsorted(b, values, "right") - np.searchsorted(b, values, "left")
    return np.repeat(values, np.maximum(counts - others, 0))
