"""Operations that reshape a value, or create a value of a shape."""

from __future__ import annotations

from math import ceil, prod

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, bounded, integers, tensor


def reshape(m: Float32, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape x; -1 is inferred, 0 copies the axis of x, counted from the last, or is 1 if x has no such axis."""
    sides = integers(shape, [])
    missing = len(sides) - x.ndim
    return x.reshape(
        [(x.shape[i - missing] if i >= missing else 1) if side == 0 else side for i, side in enumerate(sides)]
    )


def reshape_like(
    m: Float32,
    x: Tensor,
    *,
    ref_tensors: tuple[Tensor, ...],
    begins: tuple[int, ...],
    ends: tuple[int, ...],
    end_masks: tuple[bool, ...],
) -> Tensor:
    """Reshape x to the concatenated axes of the references, each from begin to end, or to its last axis."""
    sides: list[int] = []
    for reference, begin, end, is_open in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sides += reference.shape[begin : None if is_open else end]
    return x.reshape(sides)


def expand_dims(m: Float32, x: Tensor, axes: Tensor) -> Tensor:
    """Insert axes of length 1 at their positions in the result."""
    added = integers(axes, [])
    rank = tensor(x).ndim + len(added)
    y = tensor(x)
    for axis in sorted(range(rank)[axis] for axis in added):
        y = y.unsqueeze(axis)
    return y


def squeeze(m: Float32, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Remove axes of length 1, by default all."""
    return x.squeeze() if axes is None else x.squeeze(tuple(integers(axes, [])))


def flatten2d(m: Float32, x: Tensor, axis: int = 1) -> Tensor:
    """Flatten the axes before ``axis``, and the others."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def transpose(m: Float32, x: Tensor, perm: Tensor) -> Tensor:
    """Axis i of the result is axis ``perm[i]`` of x."""
    return x.permute(integers(perm, []))


def fill(m: Float32, shape: Tensor, value: float = 0.0) -> Tensor:
    """Create a tensor of a shape with a single value."""
    return tensor(value).expand(bounded(integers(shape, [])))


def range_1d(m: Float32, end: Tensor | float, start: Tensor | float, step: Tensor | float) -> Tensor:
    """start, start + step, ... up to but excluding end."""
    first, last, by = (tensor(value).item() for value in (start, end, step))
    (count,) = bounded([max(0, ceil((last - first) / by))])
    return tensor(start) + torch.arange(count, dtype=tensor(start).dtype) * tensor(step)


def one_hot(
    m: Float32,
    indices: Tensor,
    *,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: float = 1,
    off_value: float = 0,
) -> Tensor:
    """Add an axis with ``on_value`` at the index and ``off_value`` elsewhere."""
    size = int(one_hot_vector_size)
    bounded((*tensor(indices).shape, size))
    hits = tensor(indices).unsqueeze(-1) == torch.arange(size)  # (*indices, size)
    return torch.where(hits, tensor(on_value), tensor(off_value)).movedim(-1, axis)


def band_part(m: Float32, x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Keep ``lower`` diagonals below the main one and ``upper`` above of matrices (..., M, N); -1 keeps all."""
    below = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])
    inside = ((below <= lower) | (lower < 0)) & ((-below <= upper) | (upper < 0))
    return torch.where(inside, x, torch.zeros_like(x))


HANDLERS: Handlers = {
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
