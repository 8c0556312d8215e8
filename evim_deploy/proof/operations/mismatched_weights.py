"""Compare arrays of weights regardless of their layout: as sorted values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import Array

Singles = npt.NDArray[np.float32]
StoredValues = npt.NDArray[np.generic]
"""An array of a file, float16 or float32."""


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array of a file; its values are sorted once for all comparisons."""

    array: StoredValues

    @cached_property
    def sorted_values(self) -> Singles:
        return np.sort(self.array.ravel().astype(np.float32))

    def without_repetition(self, weight: Array) -> StoredArray:
        """One repetition of a vector that a file repeats for each pixel of a row, if it is as long as the weight."""
        if weight.ndim != 1 or self.array.ndim != 1 or self.array.size % weight.size:
            return self
        rows = self.array.reshape(-1, weight.size)
        return StoredArray(rows[0]) if len(rows) > 1 and (rows == rows[0]).all() else self


@dataclass(frozen=True)
class WeightComparison:
    """An array of weights compared with the reference's.

    Attributes:
        weight: Its name in the graph: ``kernel``, ``bias`` ...
        differing: Number of its values that are not among the reference's.
        size: Number of its values.
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


def mismatched_weights(nodes: Iterable[Node], stored: Sequence[StoredValues]) -> list[WeightComparison]:
    """The weights of some operations that differ from a file's.

    Args:
        nodes: Operations of the graph, their weights rounded to the file's type.
        stored: The file's arrays for these operations, float16 or float32, in any layout.
    """
    return [each for each in compare_with_stored(nodes, stored) if each.differing]


def compare_with_stored(nodes: Iterable[Node], stored: Sequence[StoredValues]) -> list[WeightComparison]:
    """Each weight compared with the closest of a file's arrays; weights without an array of their size are left out."""
    arrays = [StoredArray(array) for array in stored]
    comparisons = (closest(name, weight, arrays) for node in nodes for name, weight in node.weights.items())
    return [each for each in comparisons if each]


def closest(name: str, weight: Array, stored: Sequence[StoredArray]) -> WeightComparison | None:
    """A weight compared with the closest of a file's arrays of its size; None if there is none."""
    equal = WeightComparison(name, 0, weight.size, 0.0)
    fitting = [each for each in (each.without_repetition(weight) for each in stored) if each.array.size == weight.size]
    expected = {dtype: _sorted_as(weight, dtype) for dtype in {each.array.dtype for each in fitting}}
    if any(np.array_equal(expected[each.array.dtype], each.sorted_values) for each in fitting):
        return equal
    comparisons = (_with_differences(equal, expected[each.array.dtype], each) for each in fitting)
    return min(comparisons, key=lambda comparison: comparison.differing, default=None)


def _sorted_as(weight: Array, dtype: np.dtype[np.generic]) -> Singles:
    """The values of a weight after rounding to a file's type, sorted."""
    with np.errstate(over="ignore"):
        return np.sort(weight.ravel().astype(dtype).astype(np.float32))


def _with_differences(comparison: WeightComparison, a: Singles, stored: StoredArray) -> WeightComparison:
    b = stored.sorted_values
    missing, surplus = _leftover(a, b), _leftover(b, a)
    with np.errstate(invalid="ignore"):
        gaps = np.abs(missing - surplus)
        tolerance = np.spacing(np.maximum(np.abs(missing), np.abs(surplus)).astype(stored.array.dtype))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)[~(gaps <= tolerance)]  # rounding twice may differ by this
    return replace(comparison, differing=len(gaps), largest=float(gaps.max(initial=0.0)))


def _leftover(a: Singles, b: Singles) -> Singles:
    """The values of a that b lacks, with multiplicity; both sorted."""
    values, counts = np.unique(a, return_counts=True)
    others = np.searchsorted(b, values, "right") - np.searchsorted(b, values, "left")
    return np.repeat(values, np.maximum(counts - others, 0))
