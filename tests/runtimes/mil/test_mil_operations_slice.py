"""Slicing operations of MIL, against the definitions of their specification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mil_cases import Case, Cases, Draw, check, of


def slice_by_index(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4, high=6))
    keys, given = index_parameters(draw, x.shape)
    return of(x[keys], x=x, **given)


def index_parameters(draw: Draw, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Draw a Python index and the same as parameters; the result is never empty."""
    keys: list[Any] = []
    columns: dict[str, list[Any]] = {
        name: [] for name in ("begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask")
    }
    for side in shape:
        step, from_start, to_end = draw.choice(1, 1, 2, -1), draw.flag(), draw.flag()
        single = draw.integer(0, 3) == 0
        first, last = sorted((draw.integer(0, side - 1), draw.integer(1, side)))
        last += first == last
        if step < 0:
            first, last = last - 1, (first - 1 if first else -side - 1)
        key = first if single else slice(None if from_start else first, None if to_end else last, step)
        keys.append(key)
        shown = first - side * (first > 0 and draw.flag())
        row = (shown, last, step, from_start and not single, to_end, single)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return tuple(keys), columns


def slice_update(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4, high=6))
    keys, given = index_parameters(draw, x.shape)
    update, y = draw.array(*x[keys].shape), x.copy()
    y[keys] = update
    return of(y, "iOS18", x=x, update=update, computed=("x", "update"), **given)


def slice_by_size(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    begin = [draw.integer(0, side - 1) for side in x.shape]
    size = [draw.choice(-1, draw.integer(1, side - first)) for side, first in zip(x.shape, begin, strict=True)]
    keys = tuple(slice(first, None if count == -1 else first + count) for first, count in zip(begin, size, strict=True))
    return of(x[keys], x=x, begin=begin, size=size)


def sliding_windows(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 3, low=3, high=7))
    axis, size, stride = draw.axis(x.ndim), draw.integer(1, 3), draw.choice(None, draw.integer(1, 3))
    starts = range(0, x.shape[axis] - size + 1, stride or 1)
    y = np.stack([np.take(x, range(start, start + size), axis) for start in starts], axis % x.ndim)
    return of(y, x=x, axis=axis, size=size, stride=stride)


def crop(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 2), draw.integer(5, 8), draw.integer(5, 8))
    (top, bottom), (left, right) = ([draw.integer(0, 2), draw.integer(0, 2)] for _ in range(2))
    y = x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
    return of(y, x=x, crop_height=[top, bottom], crop_width=[left, right])


def reverse(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 4))
    axes = draw.choice(None, draw.axes(x.ndim))
    return of(np.flip(x, axes if axes is None else tuple(axes)), x=x, axes=axes)


def split(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 3), 12)
    x = np.moveaxis(x, -1, draw.integer(0, x.ndim - 1))
    axis = x.shape.index(12) - x.ndim * draw.integer(0, 1)
    sizes = draw.choice(None, [3, 4, 5], [12], [1, 11])
    count = draw.choice(2, 3, 4) if sizes is None else draw.choice(None, len(sizes))
    parts = np.split(x, count if sizes is None else np.cumsum(sizes)[:-1], axis)
    given = {"x": x, "axis": axis, "num_splits": count, "split_sizes": sizes}
    return Case({key: value for key, value in given.items() if value is not None}, tuple(parts))


CASES: Cases = {
    "crop": crop,
    "reverse": reverse,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "split": split,
}


@pytest.mark.parametrize("op", CASES)
def test_operation_is_as_defined(op: str) -> None:
    check(op, CASES[op])
