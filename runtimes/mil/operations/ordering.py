"""Operations that depend on the order of elements: maxima, sorting, cumulative sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers


def argmax(m: Float32, x: Tensor, *, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the largest element of an axis."""
    return x.argmax(axis, keepdim=keep_dims).int()


def argmin(m: Float32, x: Tensor, *, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the smallest element of an axis."""
    return x.argmin(axis, keepdim=keep_dims).int()


def argsort(m: Float32, x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Indices that sort an axis in descending order, or in ascending order if ``ascending``."""
    return x.argsort(dim=axis, descending=not ascending, stable=True).int()


def topk(
    m: Float32,
    x: Tensor,
    *,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The ``k`` largest elements of an axis, or the smallest ones if ``ascending``, and their indices; all for -1."""
    values, indices = x.topk(x.shape[axis] if k == -1 else k, axis, largest=not ascending)
    return (values, indices.int()) if return_indices else values


def cumsum(m: Float32, x: Tensor, *, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Cumulative sum along an axis, from its end if ``reverse``, without the element itself if ``exclusive``."""
    slices = x.unbind(axis)
    total, sums = torch.zeros_like(slices[0]), []
    for each in reversed(slices) if reverse else slices:
        before, total = total, m.round(total + each)
        sums.append(before if exclusive else total)
    return torch.stack(sums[::-1] if reverse else sums, axis)


def classify(m: Float32, probabilities: Tensor, classes: npt.NDArray[np.str_]) -> tuple[str, dict[str, float]]:
    """Return the most probable class, and the probability of each class in their order."""
    table = dict(zip(classes.tolist(), probabilities.flatten().tolist(), strict=True))
    if len(table) != len(classes):
        raise ValueError("a class occurs twice")
    return max(table, key=table.__getitem__), table


HANDLERS: Handlers = {
    "argsort": argsort,
    "classify": classify,
    "cumsum": cumsum,
    "reduce_argmax": argmax,
    "reduce_argmin": argmin,
    "topk": topk,
}
