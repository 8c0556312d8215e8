"""What goes by the order of values: largest, sorted, running along an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact


def argmax(m: Exact, x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Where the largest value of an axis is."""
    return x.argmax(axis, keepdim=keep_dims).int()


def argmin(m: Exact, x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Where the least value of an axis is."""
    return x.argmin(axis, keepdim=keep_dims).int()


def argsort(m: Exact, x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Where the values of an axis are, in descending order unless ``ascending``."""
    return x.argsort(dim=axis, descending=not ascending, stable=True).int()


def topk(
    m: Exact,
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The ``k`` largest values of an axis, or the least ones if ``ascending``, and where they are; all for -1."""
    values, indices = x.topk(x.shape[axis] if k == -1 else k, axis, largest=not ascending)
    return (values, indices.int()) if return_indices else values


def cumsum(m: Exact, x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sum along an axis, from its end if ``reverse``, without the element itself if ``exclusive``."""
    slices = x.unbind(axis)
    total, sums = torch.zeros_like(slices[0]), []
    for each in reversed(slices) if reverse else slices:
        before, total = total, m.round(total + each)
        sums.append(before if exclusive else total)
    return torch.stack(sums[::-1] if reverse else sums, axis)


def classify(m: Exact, probabilities: Tensor, classes: Any) -> tuple[str, dict[str, float]]:
    """The likeliest class and the probability of each, which come in the classes' order."""
    table = dict(zip(classes.tolist(), probabilities.flatten().tolist(), strict=True))
    if len(table) != len(classes):
        raise ValueError("a class is there twice")
    return max(table, key=table.__getitem__), table


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "argsort": argsort,
    "classify": classify,
    "cumsum": cumsum,
    "reduce_argmax": argmax,
    "reduce_argmin": argmin,
    "topk": topk,
}
