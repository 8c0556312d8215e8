"""Operations that select, update or reorder parts of a value."""

from __future__ import annotations

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, axes_of, bounded, integers


def _ranges(
    x: Tensor,
    *,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None,
    begin_mask: Tensor | None,
    end_mask: Tensor | None,
    squeeze_mask: Tensor | None,
) -> tuple[list[range], list[int]]:
    """Return the selected indices of each axis, and the axes that are indexed by their begin only."""
    ones, none = [1] * x.ndim, [0] * x.ndim
    squeezed = integers(squeeze_mask, none)
    ranges = []
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
            ranges.append(range(side)[0 if from_start else first :][:1])
        else:
            ranges.append(range(side)[None if from_start else first : None if to_end else last : step])
    return ranges, [axis for axis, single in enumerate(squeezed) if single]


def slice_by_index(
    m: Float32,
    x: Tensor,
    *,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """x[begin : end : stride, ...]; the masks ignore begin or end, or select a single element and remove its axis."""
    ranges, squeezed = _ranges(
        x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=begin_mask,
        end_mask=end_mask,
        squeeze_mask=squeeze_mask,
    )
    for axis, indices in enumerate(ranges):
        if indices.step == 1:
            x = x.narrow(axis, indices.start, len(indices))
        else:
            x = x.index_select(axis, torch.tensor(indices, dtype=torch.int64))
    return x.squeeze(tuple(squeezed)) if squeezed else x


def slice_update(
    m: Float32,
    x: Tensor,
    update: Tensor,
    *,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """Replace the part of x that ``slice_by_index`` selects by ``update``."""
    ranges, squeezed = _ranges(
        x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=begin_mask,
        end_mask=end_mask,
        squeeze_mask=squeeze_mask,
    )
    for axis in squeezed:
        update = update.unsqueeze(axis)
    y = x.clone()
    if update.shape != torch.Size(len(indices) for indices in ranges):
        raise ValueError(f"an update of shape {list(update.shape)} for {[len(indices) for indices in ranges]}")
    y[torch.meshgrid(*(torch.tensor(indices, dtype=torch.int64) for indices in ranges), indexing="ij")] = update
    return y


def slice_by_size(m: Float32, x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """Select ``size`` elements of each axis from ``begin`` on; -1 selects the rest."""
    for axis, (first, count) in enumerate(zip(integers(begin, []), integers(size, []), strict=True)):
        start = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


def split(
    m: Float32, x: Tensor, *, axis: int, num_splits: int | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Split an axis into parts of given sizes, or into a number of equal parts."""
    if split_sizes is not None:
        return tuple(x.split(integers(split_sizes, []), axis))
    if not num_splits or x.shape[axis] % num_splits:
        raise ValueError(f"an axis of {x.shape[axis]} in {num_splits} parts")
    return tuple(x.split(x.shape[axis] // num_splits, axis))


def sliding_windows(m: Float32, x: Tensor, *, axis: int, size: int, stride: int = 1) -> Tensor:
    """Windows of an axis; the elements of a window are on a new axis after it."""
    axis = range(x.ndim)[axis]
    bounded((*x.shape[:axis], (x.shape[axis] - size) // stride + 1, size, *x.shape[axis + 1 :]))
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


def crop(m: Float32, x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """Cut elements off the beginnings and ends of the last two axes."""
    for axis, amounts in ((-2, crop_height), (-1, crop_width)):
        before, after = integers(amounts, [])
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


def reverse(m: Float32, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Reverse axes, by default all."""
    return x.flip(axes_of(axes, x.ndim))


HANDLERS: Handlers = {
    "crop": crop,
    "reverse": reverse,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "split": split,
}
