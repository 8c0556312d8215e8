"""Quantised values and compressed constants.

A ``constexpr_`` operation computes a constant from constants. Those of iOS 16 have packed bits and a ``shape``; those
of iOS 18 have arrays of small integers, and a scale or a look-up table for each group: an axis of n elements and s
scales has groups of n / s.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from evim_deploy.formats.blob import unpack
from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.unary import cast
from runtimes.mil.values import DTYPES, Handlers, bounded, integers, lookup, tensor


def quantize(
    m: Float32,
    input: Tensor,
    scale: Tensor | float,
    *,
    output_dtype: str,
    zero_point: Tensor | int = 0,
    axis: int | None = None,
) -> Tensor:
    """round(x / scale) + zero point, clamped to the range of ``int8`` or ``uint8``."""
    scales, zeros = (_per_channel(value, input, axis) for value in (scale, zero_point))
    dtype = lookup(DTYPES, output_dtype, "the type")
    whole = torch.round(m.round(input / scales)) + zeros
    return whole.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max).to(dtype)


def dequantize(
    m: Float32, input: Tensor, scale: Tensor | float, *, zero_point: Tensor | int = 0, axis: int | None = None
) -> Tensor:
    """scale (x - zero point)."""
    return _per_channel(scale, input, axis) * (input.float() - _per_channel(zero_point, input, axis))


def constexpr_affine_dequantize(
    m: Float32, quantized_data: Tensor, *, zero_point: Tensor | int, scale: Tensor | float, axis: int
) -> Tensor:
    """scale (x - zero point)."""
    return dequantize(m, quantized_data, scale, zero_point=zero_point, axis=axis)


def _per_channel(parameter: Tensor | float, x: Tensor, axis: int | None) -> Tensor:
    """Reshape a scalar, or a vector along an axis, so that it broadcasts with x; float32."""
    values = tensor(parameter).float()
    if values.ndim == 0:
        return values
    if axis is None or values.shape != (x.shape[axis],):
        raise ValueError(f"parameters of shape {list(values.shape)} along axis {axis} of {list(x.shape)}")
    return values.reshape([-1 if each == range(x.ndim)[axis] else 1 for each in range(x.ndim)])


def blockwise_shift_scale(m: Float32, data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale (x - offset), each for a group."""
    shifted = data.float() if offset is None else data.float() - _expand_groups(offset.float(), data.shape)
    return (_expand_groups(scale.float(), data.shape) * shifted).to(scale.dtype)


def _expand_groups(values: Tensor, shape: torch.Size) -> Tensor:
    """Repeat the values of groups up to a shape."""
    for axis, (groups, side) in enumerate(zip(values.shape, shape, strict=True)):
        if side % groups:
            raise ValueError(f"{groups} groups in an axis of {side}")
        values = values.repeat_interleave(side // groups, axis) if side != groups else values
    return values


def lut_to_dense(
    m: Float32, indices: Tensor, lut: Tensor, *, vector_axis: int | None = None, shape: Tensor | None = None
) -> Tensor:
    """Look up the entries of a table (entries), or of a table for each group, (*groups, entries, vector).

    An entry that is a vector lies along ``vector_axis``.
    """
    if shape is not None:  # iOS 16: packed bits, and a single table
        bits = (lut.numel() - 1).bit_length()
        indices = _unpacked(indices, bits, shape)
        lut = lut.reshape(*(1,) * indices.ndim, -1, 1)
    *groups, entries, length = lut.shape
    if indices.numel() and int(indices.max()) >= entries:
        raise ValueError(f"an index outside a table of {entries} entries")
    table = _expand_groups(torch.arange(prod(groups)).reshape(groups), indices.shape)
    values = lut.reshape(-1, length)[table * entries + indices.long()]  # (*indices, vector)
    if vector_axis is None:
        return values.squeeze(-1)
    axis = range(indices.ndim)[vector_axis]
    return values.movedim(-1, axis + 1).flatten(axis, axis + 1)


def sparse_to_dense(m: Float32, nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    """Place the values, in their order, at the set elements of the mask; zeros elsewhere."""
    if shape is not None:  # iOS 16: packed bits
        mask = _unpacked(mask, 1, shape)
    is_set = mask.bool()
    if nonzero_data.shape != (int(is_set.sum()),):
        raise ValueError(f"{list(nonzero_data.shape)} values for {int(is_set.sum())} set elements")
    dense = nonzero_data.new_zeros(is_set.shape)
    dense[is_set] = nonzero_data
    return dense


def lut_to_sparse(
    m: Float32, *, indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """Look up the entries at the set elements of the mask; return them and the mask, expanded along ``vector_axis``."""
    dense = lut_to_dense(m, sparse_to_dense(m, indices_nonzero_data, indices_mask), lut, vector_axis=vector_axis)
    mask = _expand_groups(indices_mask, dense.shape)
    return mask, dense[mask.bool()]


def sparse_blockwise_shift_scale(
    m: Float32, *, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """scale (x - offset) at the set elements of the mask, and the mask."""
    dense = blockwise_shift_scale(m, sparse_to_dense(m, nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _unpacked(packed: Tensor, bits: int, shape: Tensor) -> Tensor:
    sides = bounded(integers(shape, []))
    flat = unpack(packed.numpy().tobytes(), f"uint{bits}", prod(sides))
    return torch.from_numpy(flat.copy()).reshape(sides)


HANDLERS: Handlers = {
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
