"""Gather and scatter operations.

A negative index counts from the end in iOS 15 and 16. From iOS 17 on the operations have ``validate_indices``; a
negative index is then out of range, and the result is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, bounded, lookup, tensor


def _wrapped(indices: Tensor | int, side: int, validate_indices: bool | None) -> Tensor:
    """Return the indices of an axis as non-negative ones.

    Raises:
        NotImplementedError: An index is out of range, for which no result is specified.
    """
    positions = tensor(indices).long()
    if validate_indices is None:
        positions = torch.where(positions < 0, positions + side, positions)
    if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < side:
        raise NotImplementedError(f"an index outside of an axis of {side}")
    return positions


def gather(
    m: Float32,
    x: Tensor,
    indices: Tensor | int,
    *,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool | None = None,
) -> Tensor:
    """Slices of an axis, which the axes of the indices replace; the first ``batch_dims`` axes are shared with x."""
    axis = range(x.ndim)[axis]
    positions = _wrapped(indices, x.shape[axis], validate_indices)
    before, after = x.shape[batch_dims:axis], x.shape[axis + 1 :]
    shape = bounded((*x.shape[:batch_dims], *before, *positions.shape[batch_dims:], *after))
    batches = prod(x.shape[:batch_dims])
    rows = x.reshape(batches, prod(before), x.shape[axis], prod(after))
    columns = positions.reshape(batches, -1)
    slices = [row.index_select(1, column) for row, column in zip(rows, columns, strict=True)]
    return torch.stack(slices).reshape(shape)


def gather_along_axis(
    m: Float32, x: Tensor, indices: Tensor, *, axis: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """The element of an axis at each index; the indices have the other axes of x."""
    return torch.take_along_dim(x, _wrapped(indices, x.shape[axis], validate_indices), axis)


def gather_nd(
    m: Float32, x: Tensor, indices: Tensor, *, batch_dims: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """x[indices[..., :]]; the first ``batch_dims`` axes are shared."""
    if batch_dims:
        rest = partial(gather_nd, m, batch_dims=batch_dims - 1, validate_indices=validate_indices)
        return torch.stack([rest(*pair) for pair in zip(x, indices, strict=True)])
    return x[_positions(x, indices, validate_indices)]


def _positions(x: Tensor, indices: Tensor, validate_indices: bool | None) -> tuple[Tensor, ...]:
    """Split indices (..., K) of the first K axes of x into one tensor for each axis."""
    columns = indices.unbind(-1)
    sides = x.shape[: len(columns)]
    return tuple(_wrapped(column, side, validate_indices) for column, side in zip(columns, sides, strict=True))


def scatter(
    m: Float32,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """Combine the slices of an axis at the indices with updates, in which the axes of the indices replace the axis."""
    positions = gather(m, _numbered(data), indices, axis=axis, validate_indices=validate_indices)
    return _combined(data, positions, updates, mode)


def scatter_along_axis(
    m: Float32,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """Combine the element of an axis at each index with its update."""
    positions = gather_along_axis(m, _numbered(data), indices, axis=axis, validate_indices=validate_indices)
    return _combined(data, positions, updates, mode)


def scatter_nd(
    m: Float32,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """Combine data[indices[..., :]] with updates."""
    return _combined(data, _numbered(data)[_positions(data, indices, validate_indices)], updates, mode)


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


def _combined(data: Tensor, positions: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Combine ``data`` with updates; several updates of an element are all applied.

    Args:
        data: The values.
        positions: Flat index into ``data`` of each update.
        updates: The updates.
        mode: Name of the operation that combines them.

    Raises:
        NotImplementedError: Several updates replace the same element, or integers are divided.
        ValueError: The shapes differ.
    """
    if positions.shape != updates.shape:
        raise ValueError(f"updates of shape {list(updates.shape)} at {list(positions.shape)} positions")
    flat, at, values = data.flatten(), positions.flatten(), updates.flatten()
    if mode == "update":
        if len(at.unique()) != len(at):
            raise NotImplementedError("several updates of one element")
        return flat.scatter(0, at, values).reshape(data.shape)
    if mode == "div" and not data.is_floating_point():
        raise NotImplementedError("division of integers")
    reduction, prepare = lookup(_COMBINATIONS, mode, "mode")
    return flat.scatter_reduce(0, at, prepare(values), reduction).reshape(data.shape)


HANDLERS: Handlers = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
