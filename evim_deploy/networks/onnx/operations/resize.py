"""Resize of ONNX on maps (B, C, H, W): by torch's own interpolation where it is the same, else by picking pixels.

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
_Place = Callable[[_Floats, int, int, np.float32], _Floats]
_Rounding = Callable[[_Floats], _Floats]
_CLOSE = 1e-6  # relative: a scale is a float32

_HALF = np.float32(0.5)
_PLACES: dict[str, _Place] = {
    "half_pixel": lambda i, length, size, scale: (i + _HALF) / scale - _HALF,
    "pytorch_half_pixel": lambda i, length, size, scale: (i + _HALF) / scale - _HALF if size > 1 else i,
    "asymmetric": lambda i, length, size, scale: i / scale,
    "align_corners": lambda i, length, size, scale: i * np.float32(length - 1) / np.float32(max(size - 1, 1)),
}
"""Where the pixels of a scaled map lie on the map: of their indices, both lengths, and the scale."""

_ROUNDINGS: dict[str, _Rounding] = {
    "round_prefer_floor": lambda places: np.ceil(places - _HALF),
    "round_prefer_ceil": lambda places: np.floor(places + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""Which pixel is the nearest."""


def resize(node: OnnxNode, x: Tensor, region: Value = None, scales: Value = None, sizes: Value = None) -> Tensor:
    """A map in another size, (B, C, H, W) -> (B, C, *sizes)."""
    mode, where = node.text("mode", "nearest"), node.text("coordinate_transformation_mode", "half_pixel")
    if x.ndim != 4:
        raise node.unsupported(f"takes values of {x.ndim} axes")
    if (policy := node.text("keep_aspect_ratio_policy", "stretch")) != "stretch":
        raise node.unsupported(f"has the keep_aspect_ratio_policy {policy}")
    if unknown := next((name for name in ("antialias", "exclude_outside") if node.integer(name, 0)), None):
        raise node.unsupported(f"has {unknown}")
    wanted = _wanted(node, x, scales, sizes)
    if mode == "nearest" and where in _PLACES:
        return _nearest(x, wanted, _PLACES[where], _ROUNDINGS[node.text("nearest_mode", "round_prefer_floor")])
    if mode == "linear" and where in _PLACES and where != "asymmetric":
        return _linear(node, x, wanted, where)
    raise node.unsupported(f"scales by {mode}, {where}")


def _wanted(node: OnnxNode, x: Tensor, scales: Value, sizes: Value) -> list[tuple[int, np.float32]]:
    """Height and width of what a map is scaled to, each with its scale.

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


def _nearest(x: Tensor, wanted: Sequence[tuple[int, np.float32]], place: _Place, rounding: _Rounding) -> Tensor:
    """torch repeats each pixel of a map that grows by a whole number; all else is picked."""
    own = lengths(x)[2:]
    picked = []
    for (size, scale), length in zip(wanted, own, strict=True):
        nearest = rounding(place(np.arange(size, dtype=np.float32), length, size, scale))
        picked.append(nearest.clip(0, length - 1).astype(np.int64).tolist())
    sizes = [size for size, _ in wanted]
    factors = [-(-size // length) for size, length in zip(sizes, own, strict=True)]
    repeated = [[i // factor for i in range(factor * length)] for factor, length in zip(factors, own, strict=True)]
    if picked == repeated:
        return F.interpolate(x, sizes, mode="nearest") if max(factors) > 1 else x
    for axis, (index, length) in enumerate(zip(picked, own, strict=True), 2):
        if index != list(range(length)):
            x = x.index_select(axis, torch.tensor(index))
    return x


def _linear(node: OnnxNode, x: Tensor, wanted: Sequence[tuple[int, np.float32]], where: str) -> Tensor:
    is_aligned = where == "align_corners"
    for (size, scale), length in zip(wanted, lengths(x)[2:], strict=True):
        if not is_aligned and not isclose(size, scale * length, rel_tol=_CLOSE):
            raise node.unsupported("scales to a size that is not whole")
        if where == "pytorch_half_pixel" and size == 1 != length:
            raise node.unsupported("scales to one pixel by pytorch_half_pixel")
    return F.interpolate(x, [size for size, _ in wanted], mode="bilinear", align_corners=is_aligned)
