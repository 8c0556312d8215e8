"""What gives a value another shape, or makes one of a shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.values import bounded, integers, tensor


def reshape(m: Exact, x: Tensor, shape: Tensor) -> Tensor:
    """-1 stands for what is left, 0 for the same axis of x, both counted from the last, or 1 where there is none."""
    wanted = integers(shape, [])
    missing = len(wanted) - x.ndim
    return x.reshape(
        [(x.shape[i - missing] if i >= missing else 1) if side == 0 else side for i, side in enumerate(wanted)]
    )


def reshape_like(
    m: Exact,
    x: Tensor,
    ref_tensors: tuple[Tensor, ...],
    begins: tuple[int, ...],
    ends: tuple[int, ...],
    end_masks: tuple[bool, ...],
) -> Tensor:
    """To the axes from begin to end, or to the last one, of each reference, one after another."""
    wanted: list[int] = []
    for reference, begin, end, is_open in zip(ref_tensors, begins, ends, end_masks, strict=True):
        wanted += reference.shape[begin : None if is_open else end]
    return x.reshape(wanted)


def expand_dims(m: Exact, x: Tensor, axes: Tensor) -> Tensor:
    """Axes of length 1 put in where they stand in the result."""
    added = integers(axes, [])
    rank = tensor(x).ndim + len(added)
    y = tensor(x)
    for axis in sorted(range(rank)[axis] for axis in added):
        y = y.unsqueeze(axis)
    return y


def squeeze(m: Exact, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without these axes, or all, so far as their length is 1."""
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes, [])))


def flatten2d(m: Exact, x: Tensor, axis: int = 1) -> Tensor:
    """The axes before ``axis`` as one, and the others as another."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def transpose(m: Exact, x: Tensor, perm: Tensor) -> Tensor:
    """Axis i of the result is axis ``perm[i]`` of x."""
    return x.permute(integers(perm, []))


def fill(m: Exact, shape: Tensor, value: float = 0.0) -> Tensor:
    """A value of this shape, the same everywhere."""
    return tensor(value).expand(bounded(integers(shape, [])))


def range_1d(m: Exact, end: Tensor | float, start: Tensor | float, step: Tensor | float) -> Tensor:
    """start, start + step ... before end."""
    first, last, by = (tensor(value).item() for value in (start, end, step))
    (count,) = bounded([max(0, ceil((last - first) / by))])
    return tensor(start) + torch.arange(count, dtype=tensor(start).dtype) * tensor(step)


def one_hot(
    m: Exact,
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: float = 1,
    off_value: float = 0,
) -> Tensor:
    """A new axis that has ``on_value`` at the index and ``off_value`` elsewhere."""
    size = int(one_hot_vector_size)
    bounded((*tensor(indices).shape, size))
    hits = tensor(indices).unsqueeze(-1) == torch.arange(size)  # (*indices, size)
    return torch.where(hits, tensor(on_value), tensor(off_value)).movedim(-1, axis)


def band_part(m: Exact, x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Matrices (..., M, N) without what is over ``lower`` diagonals below the main one or ``upper`` above; -1: all."""
    below = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])
    inside = ((below <= lower) | (lower < 0)) & ((-below <= upper) | (upper < 0))
    return torch.where(inside, x, torch.zeros_like(x))


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "band_part": band_part,
    "expand_dims": expand_dims,
    "fill": fill,
    "fill_like": lambda m, ref_tensor, value=0.0: tensor(value).expand(ref_tensor.shape),
    "flatten2d": flatten2d,
    "non_zero": lambda m, x: x.nonzero().int(),
    "one_hot": one_hot,
    "range_1d": range_1d,
    "reshape": reshape,
    "reshape_like": reshape_like,
    "shape": lambda m, x: torch.tensor(x.shape, dtype=torch.int32),
    "squeeze": squeeze,
    "transpose": transpose,
}
