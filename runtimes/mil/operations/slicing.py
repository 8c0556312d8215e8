"""What takes parts of a value, or changes their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.values import axes_of, bounded, integers


def _chosen(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None,
    begin_mask: Tensor | None,
    end_mask: Tensor | None,
    squeeze_mask: Tensor | None,
) -> tuple[list[range], list[int]]:
    """Which elements of each axis are meant, as Python slices, and the axes that are indexed by their begin alone."""
    ones, none = [1] * x.ndim, [0] * x.ndim
    squeezed = integers(squeeze_mask, none)
    chosen = []
    for side, first, last, step, from_start, to_end, single in zip(
        x.shape,
        integers(begin, []),
        integers(end, []),
        integers(stride, ones),
        integers(begin_mask, none),
        integers(end_mask, none),
        squeezed,
        strict=True,
    ):
        if single:
            chosen.append(range(side)[0 if from_start else first :][:1])
        else:
            chosen.append(range(side)[None if from_start else first : None if to_end else last : step])
    return chosen, [axis for axis, single in enumerate(squeezed) if single]


def slice_by_index(
    m: Exact,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x[begin : end : stride, ...]; a mask leaves out begin or end, or takes one element and its axis away."""
    chosen, squeezed = _chosen(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for axis, places in enumerate(chosen):
        if places.step == 1:
            x = x.narrow(axis, places.start, len(places))
        else:
            x = x.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return x.squeeze(tuple(squeezed)) if squeezed else x


def slice_update(
    m: Exact,
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x with ``update`` in place of what ``slice_by_index`` would take."""
    chosen, squeezed = _chosen(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for axis in squeezed:
        update = update.unsqueeze(axis)
    y = x.clone()
    if update.shape != torch.Size(len(places) for places in chosen):
        raise ValueError(f"an update of shape {list(update.shape)} for {[len(places) for places in chosen]}")
    y[torch.meshgrid(*(torch.tensor(places, dtype=torch.int64) for places in chosen), indexing="ij")] = update
    return y


def slice_by_size(m: Exact, x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """``size`` elements of each axis from ``begin`` on, all for -1."""
    for axis, (first, count) in enumerate(zip(integers(begin, []), integers(size, []), strict=True)):
        start = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


def split(
    m: Exact, x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Parts of an axis: of these sizes, or so many equal ones."""
    if split_sizes is not None:
        return tuple(x.split(integers(split_sizes, []), axis))
    if not num_splits or x.shape[axis] % num_splits:
        raise ValueError(f"an axis of {x.shape[axis]} in {num_splits} parts")
    return tuple(x.split(x.shape[axis] // num_splits, axis))


def sliding_windows(m: Exact, x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """Windows of an axis, each with an axis of its own after it."""
    axis = range(x.ndim)[axis]
    bounded((*x.shape[:axis], (x.shape[axis] - size) // stride + 1, size, *x.shape[axis + 1 :]))
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


def crop(m: Exact, x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """The last two axes without so much at their beginnings and ends."""
    for axis, amounts in ((-2, crop_height), (-1, crop_width)):
        before, after = integers(amounts, [])
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


def reverse(m: Exact, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """These axes, or all, from their ends."""
    return x.flip(axes_of(axes, x.ndim))


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "crop": crop,
    "reverse": reverse,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "split": split,
}
