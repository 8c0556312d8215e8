"""Core ML: weights in few bits, which operations take decoded, and values that are rounded to a grid.

Weights are constants of constants: ``constexpr_`` operations, which Core ML decodes as it loads a model or as it
computes, as it sees fit. A value on a grid goes through ``quantize`` and ``dequantize``; a convolution between such
pairs, its weights in 8 bits, is what the Neural Engine computes in integers from the A17 Pro and the M4 on.

Source: https://apple.github.io/coremltools/docs-guides/source/opt-quantization-overview.html and what it links.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coremltools as ct
import numpy as np
import numpy.typing as npt
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with

from evim_deploy.graph.quantised import AffineQuantised, Encoding, Palettised, QuantParams

EXACT, QUANTIZED, DEQUANTIZED = "_exact", "_quantize", "_dequantize"
"""End the names of steps on the way to a value on a grid: as computed, and in codes; and the input as it comes out."""

_SIGNED = {4: types.np_int4_dtype, 8: np.dtype(np.int8)}
_UNSIGNED = {4: types.np_uint4_dtype, 6: types.np_uint6_dtype, 8: np.dtype(np.uint8)}


def decoded(encoding: Encoding, axes: int, name: str) -> Any:
    """Encoded weights as an operation takes them.

    Args:
        encoding: How they are stored.
        axes: How many the operation wants; further ones are of length 1.
        name: Of the operation that decodes them.
    """
    form = "iOS18" if is_current_opset_version_compatible_with(ct.target.iOS18) else "iOS16"
    return _DECODERS[type(encoding), form](encoding, axes, name)


def on_grid(x: Any, grid: QuantParams, name: str, quantized: str) -> Any:
    """A value of that name, rounded to a grid; ``quantized`` is the name of its codes."""
    parameters = {"scale": np.float32(grid.scale), "zero_point": np.uint8(grid.zero_point)}
    codes = mb.quantize(input=x, output_dtype="uint8", name=quantized, **parameters)
    return mb.dequantize(input=codes, name=name, **parameters)


def _affine(encoding: AffineQuantised, axes: int, name: str) -> Any:
    return mb.constexpr_affine_dequantize(
        quantized_data=_with_axes(encoding.codes, axes),
        zero_point=np.int8(0),
        scale=encoding.scale.ravel().astype(np.float32),
        axis=0,
        name=name,
    )


def _by_blocks(encoding: AffineQuantised, axes: int, name: str) -> Any:
    return mb.constexpr_blockwise_shift_scale(
        data=_with_axes(encoding.codes, axes).astype(_SIGNED[encoding.bits]),
        scale=_with_axes(encoding.scale, axes).astype(np.float32),
        name=name,
    )


def _packed_table(encoding: Palettised, axes: int, name: str) -> Any:
    codes = _with_axes(encoding.codes, axes)
    return mb.constexpr_lut_to_dense(
        indices=_packed(codes, encoding.bits),
        lut=encoding.table.astype(np.float32),
        shape=np.array(codes.shape, np.uint32),
        name=name,
    )


def _table(encoding: Palettised, axes: int, name: str) -> Any:
    return mb.constexpr_lut_to_dense(
        indices=_with_axes(encoding.codes, axes).astype(_UNSIGNED[encoding.bits]),
        lut=encoding.table.astype(np.float32).reshape(*(1,) * axes, -1, 1),  # (*blocks, entries, vector)
        name=name,
    )


def _with_axes(array: npt.NDArray[Any], axes: int) -> npt.NDArray[Any]:
    return array.reshape(*array.shape, *(1,) * (axes - array.ndim))


def _packed(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes one after the other, the least bit first."""
    each = np.unpackbits(codes.reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(each, bitorder="little")


_DECODERS: dict[tuple[type, str], Callable[..., Any]] = {
    (AffineQuantised, "iOS16"): _affine,
    (AffineQuantised, "iOS18"): _by_blocks,
    (Palettised, "iOS16"): _packed_table,
    (Palettised, "iOS18"): _table,
}
