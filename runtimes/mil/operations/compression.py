"""Quantised values, and constants that are stored smaller than they are.

A ``constexpr_`` operation makes a constant of constants. Those of iOS 16 have packed bits and a
``shape``; those of iOS 18 have arrays of small integers, and a scale or a table for each block: an
axis of n elements and s scales has blocks of n / s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from evim_deploy.formats.blob import unpack
from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.unary import cast
from runtimes.mil.values import DTYPES, bounded, integers, known, tensor


def quantize(
    m: Exact,
    input: Tensor,
    scale: Tensor | float,
    output_dtype: str,
    zero_point: Tensor | int = 0,
    axis: int | None = None,
) -> Tensor:
    """round(x / scale) + zero point, cut off to the range of ``int8`` or ``uint8``."""
    scales, zeros = (_along(value, input, axis) for value in (scale, zero_point))
    dtype = known(DTYPES, output_dtype, "the type")
    whole = torch.round(m.round(input / scales)) + zeros
    return whole.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max).to(dtype)


def dequantize(
    m: Exact, input: Tensor, scale: Tensor | float, zero_point: Tensor | int = 0, axis: int | None = None
) -> Tensor:
    """scale (x - zero point)."""
    return _along(scale, input, axis) * (input.float() - _along(zero_point, input, axis))


def constexpr_affine_dequantize(
    m: Exact, quantized_data: Tensor, zero_point: Tensor | int, scale: Tensor | float, axis: int
) -> Tensor:
    """scale (x - zero point)."""
    return dequantize(m, quantized_data, scale, zero_point, axis)


def _along(parameter: Tensor | float, x: Tensor, axis: int | None) -> Tensor:
    """One value for all, or a vector along an axis, in float32 and so that it broadcasts with x."""
    values = tensor(parameter).float()
    if values.ndim == 0:
        return values
    if axis is None or values.shape != (x.shape[axis],):
        raise ValueError(f"parameters of shape {list(values.shape)} along axis {axis} of {list(x.shape)}")
    return values.reshape([-1 if each == range(x.ndim)[axis] else 1 for each in range(x.ndim)])


def blockwise_shift_scale(m: Exact, data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale (x - offset), each for a block."""
    shifted = data.float() if offset is None else data.float() - _of_blocks(offset.float(), data.shape)
    return (_of_blocks(scale.float(), data.shape) * shifted).to(scale.dtype)


def _of_blocks(values: Tensor, shape: torch.Size) -> Tensor:
    """Values of blocks, repeated to the shape of what they are for."""
    for axis, (blocks, side) in enumerate(zip(values.shape, shape, strict=True)):
        if side % blocks:
            raise ValueError(f"{blocks} blocks in an axis of {side}")
        values = values.repeat_interleave(side // blocks, axis) if side != blocks else values
    return values


def lut_to_dense(
    m: Exact, indices: Tensor, lut: Tensor, vector_axis: int | None = None, shape: Tensor | None = None
) -> Tensor:
    """Table entries by their indices; one table, (entries), or one a block, (*blocks, entries, vector).

    An entry that is a vector lies along ``vector_axis``.
    """
    if shape is not None:  # as in iOS 16: bits, and one table
        bits = (lut.numel() - 1).bit_length()
        indices = _unpacked(indices, bits, shape)
        lut = lut.reshape(*(1,) * indices.ndim, -1, 1)
    *blocks, entries, length = lut.shape
    if indices.numel() and int(indices.max()) >= entries:
        raise ValueError(f"an index outside of a table of {entries}")
    table = _of_blocks(torch.arange(prod(blocks)).reshape(blocks), indices.shape)
    values = lut.reshape(-1, length)[table * entries + indices.long()]  # (*indices, vector)
    if vector_axis is None:
        return values.squeeze(-1)
    axis = range(indices.ndim)[vector_axis]
    return values.movedim(-1, axis + 1).flatten(axis, axis + 1)


def sparse_to_dense(m: Exact, nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    """The values, in their order, where the mask is set; zeros elsewhere."""
    if shape is not None:  # as in iOS 16: bits
        mask = _unpacked(mask, 1, shape)
    where = mask.bool()
    if nonzero_data.shape != (int(where.sum()),):
        raise ValueError(f"{list(nonzero_data.shape)} values for {int(where.sum())} places")
    dense = nonzero_data.new_zeros(where.shape)
    dense[where] = nonzero_data
    return dense


def lut_to_sparse(
    m: Exact, indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """Table entries where the mask is set, and the mask, which grows along ``vector_axis``."""
    dense = lut_to_dense(m, sparse_to_dense(m, indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = _of_blocks(indices_mask, dense.shape)
    return mask, dense[mask.bool()]


def sparse_blockwise_shift_scale(
    m: Exact, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """scale (x - offset) where the mask is set, and the mask."""
    dense = blockwise_shift_scale(m, sparse_to_dense(m, nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _unpacked(packed: Tensor, bits: int, shape: Tensor) -> Tensor:
    sides = bounded(integers(shape, []))
    flat = unpack(packed.numpy().tobytes(), f"uint{bits}", prod(sides))
    return torch.from_numpy(flat.copy()).reshape(sides)


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": lambda m, source_val, output_dtype: cast(m, source_val, output_dtype),
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": sparse_to_dense,
    "dequantize": dequantize,
    "quantize": quantize,
}
