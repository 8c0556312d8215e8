"""What takes elements by their indices, or puts them there.

A negative index counts from the end in iOS 15 and 16; from iOS 17 on, whose operations have
``validate_indices``, it is outside of the axis, and what comes of that is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.values import bounded, known, tensor


def _wrapped(indices: Tensor | int, side: int, validate_indices: bool | None) -> Tensor:
    """Indices of an axis, none of them negative.

    Raises:
        NotImplementedError: One is outside of the axis: what comes of that is not specified.
    """
    found = tensor(indices).long()
    if validate_indices is None:
        found = torch.where(found < 0, found + side, found)
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < side:
        raise NotImplementedError(f"an index outside of an axis of {side}")
    return found


def gather(
    m: Exact,
    x: Tensor,
    indices: Tensor | int,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool | None = None,
) -> Tensor:
    """Slices of an axis; the axes of the indices stand in its place, the first ``batch_dims`` being x's own."""
    axis = range(x.ndim)[axis]
    found = _wrapped(indices, x.shape[axis], validate_indices)
    before, after = x.shape[batch_dims:axis], x.shape[axis + 1 :]
    shape = bounded((*x.shape[:batch_dims], *before, *found.shape[batch_dims:], *after))
    batches = prod(x.shape[:batch_dims])
    rows = x.reshape(batches, prod(before), x.shape[axis], prod(after))
    columns = found.reshape(batches, -1)
    each = [row.index_select(1, column) for row, column in zip(rows, columns, strict=True)]
    return torch.stack(each).reshape(shape)


def gather_along_axis(
    m: Exact, x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """For each place its element of an axis."""
    return torch.take_along_dim(x, _wrapped(indices, x.shape[axis], validate_indices), axis)


def gather_nd(
    m: Exact, x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """x[indices[..., :]], the first ``batch_dims`` axes of both being the same."""
    if batch_dims:
        pairs = zip(x, indices, strict=True)
        return torch.stack([gather_nd(m, part, where, batch_dims - 1, validate_indices) for part, where in pairs])
    return x[_places(x, indices, validate_indices)]


def _places(x: Tensor, indices: Tensor, validate_indices: bool | None) -> tuple[Tensor, ...]:
    """Indices (..., K) of the first K axes of x, one tensor an axis."""
    columns = indices.unbind(-1)
    sides = x.shape[: len(columns)]
    return tuple(_wrapped(column, side, validate_indices) for column, side in zip(columns, sides, strict=True))


def scatter(
    m: Exact,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """Slices of an axis, at these indices, combined with updates, in which the indices' axes stand in its place."""
    return _combined(data, gather(m, _numbered(data), indices, axis, 0, validate_indices), updates, mode)


def scatter_along_axis(
    m: Exact,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """For each update its element of an axis, combined with it."""
    places = gather_along_axis(m, _numbered(data), indices, axis, validate_indices)
    return _combined(data, places, updates, mode)


def scatter_nd(
    m: Exact, data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool | None = None
) -> Tensor:
    """data[indices[..., :]] combined with updates."""
    return _combined(data, _numbered(data)[_places(data, indices, validate_indices)], updates, mode)


def _numbered(data: Tensor) -> Tensor:
    return torch.arange(data.numel()).reshape(data.shape)


_COMBINATIONS: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "add": ("sum", lambda updates: updates),
    "sub": ("sum", torch.neg),
    "mul": ("prod", lambda updates: updates),
    "div": ("prod", torch.reciprocal),
    "max": ("amax", lambda updates: updates),
    "min": ("amin", lambda updates: updates),
}


def _combined(data: Tensor, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """``data`` with updates at places, which are numbers of its elements; where several meet, all count.

    Raises:
        NotImplementedError: Several updates meet where one can count, or integers are divided.
    """
    if places.shape != updates.shape:
        raise ValueError(f"updates of shape {list(updates.shape)} at {list(places.shape)} places")
    flat, where, given = data.flatten(), places.flatten(), updates.flatten()
    if mode == "update":
        if len(where.unique()) != len(where):
            raise NotImplementedError("several updates of one element")
        return flat.scatter(0, where, given).reshape(data.shape)
    if mode == "div" and not data.is_floating_point():
        raise NotImplementedError("division of integers")
    reduction, of_updates = known(_COMBINATIONS, mode, "mode")
    return flat.scatter_reduce(0, where, of_updates(given), reduction).reshape(data.shape)


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
