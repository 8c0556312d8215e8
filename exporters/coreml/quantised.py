"""Quantised weights and values in Core ML.

Quantised weights are ``constexpr_`` operations on constants. Core ML decides whether it dequantises them when it loads
a model or when it computes. A quantised value passes through ``quantize`` and ``dequantize``. The Neural Engine
computes a convolution between two such pairs with 8-bit weights in integers, from the A17 Pro and the M4 on.

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
"""Suffixes of the names of a value before quantisation, of its integers, and of the dequantised input."""

_SIGNED = {4: types.np_int4_dtype, 8: np.dtype(np.int8)}
_UNSIGNED = {4: types.np_uint4_dtype, 6: types.np_uint6_dtype, 8: np.dtype(np.uint8)}


def dequantised(encoding: Encoding, axes: int, name: str) -> Any:
    """Return quantised weights, dequantised by an operation.

    Args:
        encoding: The quantised weights.
        axes: Number of axes; missing axes have length 1.
        name: Name of the dequantising operation.
    """
    form = "iOS18" if is_current_opset_version_compatible_with(ct.target.iOS18) else "iOS16"
    return _DECODERS[type(encoding), form](encoding, axes, name)


def fake_quantise(x: Any, params: QuantParams, name: str, integers_name: str) -> Any:
    """Quantise and dequantise a value; ``integers_name`` is the name of its integers."""
    parameters = {"scale": np.float32(params.scale), "zero_point": np.uint8(params.zero_point)}
    integers = mb.quantize(input=x, output_dtype="uint8", name=integers_name, **parameters)
    return mb.dequantize(input=integers, name=name, **parameters)


def _affine(encoding: AffineQuantised, axes: int, name: str) -> Any:
    return mb.constexpr_affine_dequantize(
        quantized_data=_with_axes(encoding.values, axes),
        zero_point=np.int8(0),
        scale=encoding.scale.ravel().astype(np.float32),
        axis=0,
        name=name,
    )


def _by_blocks(encoding: AffineQuantised, axes: int, name: str) -> Any:
    return mb.constexpr_blockwise_shift_scale(
        data=_with_axes(encoding.values, axes).astype(_SIGNED[encoding.bits]),
        scale=_with_axes(encoding.scale, axes).astype(np.float32),
        name=name,
    )


def _packed_table(encoding: Palettised, axes: int, name: str) -> Any:
    indices = _with_axes(encoding.values, axes)
    return mb.constexpr_lut_to_dense(
        indices=_packed(indices, encoding.bits),
        lut=encoding.table.astype(np.float32),
        shape=np.array(indices.shape, np.uint32),
        name=name,
    )


def _table(encoding: Palettised, axes: int, name: str) -> Any:
    return mb.constexpr_lut_to_dense(
        indices=_with_axes(encoding.values, axes).astype(_UNSIGNED[encoding.bits]),
        lut=encoding.table.astype(np.float32).reshape(*(1,) * axes, -1, 1),  # (*blocks, entries, vector)
        name=name,
    )


def _with_axes(array: npt.NDArray[Any], axes: int) -> npt.NDArray[Any]:
    return array.reshape(*array.shape, *(1,) * (axes - array.ndim))


def _packed(indices: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Pack integers of few bits, the least significant bit first."""
    each = np.unpackbits(indices.reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(each, bitorder="little")


_DECODERS: dict[tuple[type, str], Callable[..., Any]] = {
    (AffineQuantised, "iOS16"): _affine,
    (AffineQuantised, "iOS18"): _by_blocks,
    (Palettised, "iOS16"): _packed_table,
    (Palettised, "iOS18"): _table,
}
