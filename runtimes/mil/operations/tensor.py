"""What moves data or only names it anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.convolution import integers


def reshape(m: Exact, x: Tensor, shape: Tensor) -> Tensor:
    """-1 stands for what is left, 0 for the axis as it was."""
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(integers(shape, []))])


def expand_dims(m: Exact, x: Tensor, axes: Tensor) -> Tensor:
    added = integers(axes, [])
    rank = x.ndim + len(added)
    for axis in sorted(axis % rank for axis in added):
        x = x.unsqueeze(axis)
    return x


def squeeze(m: Exact, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes, [])))


def concat(m: Exact, values: tuple[Tensor, ...], axis: int, interleave: bool = False) -> Tensor:
    if not interleave:
        return torch.cat(values, axis)
    return torch.stack(values, axis + 1 if axis >= 0 else axis).flatten(
        axis % values[0].ndim, axis % values[0].ndim + 1
    )


def split(
    m: Exact, x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    sizes = integers(split_sizes, []) or [x.shape[axis] // (num_splits or 1)] * (num_splits or 1)
    return tuple(x.split(sizes, axis))


def classify(m: Exact, probabilities: Tensor, classes: Any) -> tuple[str, dict[str, float]]:
    """The likeliest class and the probability of each, which come in the classes' order."""
    flat = probabilities.flatten().tolist()
    table = dict(zip(classes.tolist(), flat, strict=True))
    return max(table, key=table.__getitem__), table


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "reshape": reshape,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "concat": concat,
    "split": split,
    "classify": classify,
}
