"""Resize of ONNX on maps (B, C, H, W): by torch's interpolation where it is the same, otherwise by indexing pixels.

Attributes: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx.node import OnnxNode, Value, lengths

_Floats = npt.NDArray[np.float32]
_Coordinates = Callable[[_Floats, int, int, np.float32], _Floats]
_Rounding = Callable[[_Floats], _Floats]
_CLOSE = 1e-6  # relative: a scale is a float32

_HALF = np.float32(0.5)
_COORDINATES: dict[str, _Coordinates] = {
    "half_pixel": lambda i, length, size, scale: (i + _HALF) / scale - _HALF,
    "pytorch_half_pixel": lambda i, length, size, scale: (i + _HALF) / scale - _HALF if size > 1 else i,
    "asymmetric": lambda i, length, size, scale: i / scale,
    "align_corners": lambda i, length, size, scale: i * np.float32(length - 1) / np.float32(max(size - 1, 1)),
}
"""Coordinates on the map of the pixels of the resized map, from their indices, both lengths, and the scale."""

_ROUNDINGS: dict[str, _Rounding] = {
    "round_prefer_floor": lambda coordinates: np.ceil(coordinates - _HALF),
    "round_prefer_ceil": lambda coordinates: np.floor(coordinates + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Rounding of a coordinate to the nearest pixel."""


def resize(node: OnnxNode, x: Tensor, region: Value = None, scales: Value = None, sizes: Value = None) -> Tensor:
    """Resize a map, (B, C, H, W) -> (B, C, *sizes)."""
    mode, transformation = node.text("mode", "nearest"), node.text("coordinate_transformation_mode", "half_pixel")
    if x.ndim != 4:
        raise node.unsupported(f"has an input of {x.ndim} axes")
    if (policy := node.text("keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise node.unsupported(f"has the keep_aspect_ratio_policy {policy}")
    if unknown := next((name for name in ("antialias", "exclude_outside") if node.integer(name, 0)), None):
        raise node.unsupported(f"has {unknown}")
    sides = _sides(node, x, scales, sizes)
    if mode == "nearest" and transformation in _COORDINATES:
        return _nearest(
            x, sides, _COORDINATES[transformation], _ROUNDINGS[node.text("nearest_mode", "round_prefer_floor")]
        )
    if mode == "linear" and transformation in _COORDINATES and transformation != "asymmetric":
        return _linear(node, x, sides, transformation)
    raise node.unsupported(f"scales by {mode}, {transformation}")


def _sides(node: OnnxNode, x: Tensor, scales: Value, sizes: Value) -> list[tuple[int, np.float32]]:
    """Height and width of the resized map, each with its scale.

    Raises:
        BadInput: Channels or images are scaled as well.
    """
    own = lengths(x)
    has_sizes = sizes is not None and sizes.shape != (0,)
    given = node.numbers(sizes if has_sizes else scales)
    numbers = dict(zip((axis % x.ndim for axis in node.integers("axes", range(x.ndim))), given, strict=True))
    for axis in (1,) if own[0] != 1 else (0, 1):  # a file for one image has that as a size
        same = own[axis] if has_sizes else 1
        if numbers.get(axis, same) != same:
            raise node.unsupported("scales more than height and width")
    if has_sizes:
        return [
            (size, np.float32(size) / np.float32(own[axis]))
            for axis in (2, 3)
            for size in [numbers.get(axis, own[axis])]
        ]
    factors = [np.float32(numbers.get(axis, 1)) for axis in (2, 3)]
    return [(int(factor * np.float32(side)), factor) for factor, side in zip(factors, own[2:], strict=True)]


def _nearest(
    x: Tensor, sides: Sequence[tuple[int, np.float32]], coordinates: _Coordinates, rounding: _Rounding
) -> Tensor:
    """Repeat each pixel by torch where a map grows by a whole number; otherwise index the nearest pixels."""
    own = lengths(x)[2:]
    indices = []
    for (size, scale), length in zip(sides, own, strict=True):
        nearest = rounding(coordinates(np.arange(size, dtype=np.float32), length, size, scale))
        indices.append(nearest.clip(0, length - 1).astype(np.int64).tolist())
    sizes = [size for size, _ in sides]
    factors = [-(-size // length) for size, length in zip(sizes, own, strict=True)]
    repeated = [[i // factor for i in range(factor * length)] for factor, length in zip(factors, own, strict=True)]
    if indices == repeated:
        return F.interpolate(x, sizes, mode="nearest") if max(factors) > 1 else x
    for axis, (index, length) in enumerate(zip(indices, own, strict=True), 2):
        if index != list(range(length)):
            x = x.index_select(axis, torch.tensor(index))
    return x


def _linear(node: OnnxNode, x: Tensor, sides: Sequence[tuple[int, np.float32]], transformation: str) -> Tensor:
    is_aligned = transformation == "align_corners"
    for (size, scale), length in zip(sides, lengths(x)[2:], strict=True):
        if not is_aligned and not isclose(size, scale * length, rel_tol=_CLOSE):
            raise node.unsupported("scales to a size that is not whole")
        if transformation == "pytorch_half_pixel" and size == 1 != length:
            raise node.unsupported("scales to one pixel by pytorch_half_pixel")
    return F.interpolate(x, [size for size, _ in sides], mode="bilinear", align_corners=is_aligned)
