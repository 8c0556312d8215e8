"""Operations that concatenate, repeat or pad values."""

from __future__ import annotations

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.padding import padded
from runtimes.mil.values import Handlers, bounded, integers, tensor


def concat(m: Float32, values: tuple[Tensor, ...], axis: int, interleave: bool = False) -> Tensor:
    """Concatenate along an axis, or interleave the elements of the axis; scalars form a vector."""
    parts = [torch.atleast_1d(tensor(value)) for value in values]
    axis = range(parts[0].ndim)[axis]
    bounded((sum(part.numel() for part in parts),))
    return torch.stack(parts, axis + 1).flatten(axis, axis + 1) if interleave else torch.cat(parts, axis)


def stack(m: Float32, values: tuple[Tensor, ...], axis: int) -> Tensor:
    """Stack along a new axis."""
    bounded((sum(tensor(value).numel() for value in values),))
    return torch.stack([tensor(value) for value in values], axis)


def tile(m: Float32, x: Tensor, reps: Tensor) -> Tensor:
    """Repeat each axis ``reps`` times."""
    times = integers(reps, [])
    bounded(side * count for side, count in zip(x.shape, times, strict=True))
    return x.repeat(times)


def pad(m: Float32, x: Tensor, pad: Tensor, *, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pad the last axes with a value, with their end elements (``replicate``) or mirrored (``reflect``)."""
    flat = integers(pad, [])
    amounts = list(zip(flat[::2], flat[1::2], strict=True))
    if mode == "constant":
        return padded(x, amounts, constant_val)
    first = x.ndim - len(amounts)
    for axis, side, pair in zip(range(first, x.ndim), x.shape[first:], amounts, strict=True):
        x = x.index_select(axis, _sources(mode, side, pair)) if any(pair) else x
    return x


def _sources(mode: str, side: int, amounts: tuple[int, int]) -> Tensor:
    """Return the index into an axis of each element of the padded axis."""
    if mode not in ("reflect", "replicate"):
        raise NotImplementedError(f"mode {mode!r}")
    if min(amounts) < 0 or max(amounts) > (side - 1 if mode == "reflect" else side):
        raise ValueError(f"padding {amounts} of an axis of {side}")
    positions = torch.arange(-amounts[0], side + amounts[1])
    if mode == "replicate":
        return positions.clamp(0, side - 1)
    return (side - 1) - ((side - 1) - positions.abs()).abs()


HANDLERS: Handlers = {"concat": concat, "pad": pad, "stack": stack, "tile": tile}
