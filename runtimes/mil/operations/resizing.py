"""Resizing of the last axes of a value, one axis after another.

An axis of n elements is resized to k. The mode determines the point on the old axis at which element i is sampled:

======================  ================================================
STRICT_ALIGN_CORNERS    i (n - 1) / (k - 1), or 0 if k = 1
ALIGN_CORNERS           i (n - 1) / (k - 1), or (n - 1) / 2 if k = 1
DEFAULT                 i n / k
OFFSET_CORNERS          (i + 1/2) max(1, n - 1) / k
UNALIGN_CORNERS         (i + 1/2) n / k - 1/2
======================  ================================================

A point between two elements is interpolated linearly; a point beyond an end is clamped to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, bounded, integers, lookup

_POINTS: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "STRICT_ALIGN_CORNERS": lambda i, n, k: i * (n - 1) / max(1, k - 1),
    "ALIGN_CORNERS": lambda i, n, k: i * (n - 1) / (k - 1) if k > 1 else i + (n - 1) / 2,
    "DEFAULT": lambda i, n, k: i * n / k,
    "OFFSET_CORNERS": lambda i, n, k: (i + 0.5) * max(1, n - 1) / k,
    "UNALIGN_CORNERS": lambda i, n, k: (i + 0.5) * n / k - 0.5,
}


def _linear(m: Float32, x: Tensor, sides: list[int], sampling_mode: str) -> Tensor:
    """Linear interpolation, x (..., *old sides) -> (..., *sides)."""
    for axis, count in enumerate(sides, start=-len(sides)):
        length = x.shape[axis]
        bounded((count, x.numel() // max(1, length)))
        positions = torch.arange(count, dtype=torch.float64)
        points = lookup(_POINTS, sampling_mode, "sampling_mode")(positions, length, count).clamp(0, length - 1)
        below = points.long()
        above = (below + 1).clamp_max(length - 1)
        weight = (points - below).float().reshape(-1, *(1,) * (-axis - 1))
        low, high = m.round(x.index_select(axis, below) * (1 - weight)), m.round(x.index_select(axis, above) * weight)
        x = m.round(low + high)
    return x


def _nearest(x: Tensor, sides: list[int]) -> Tensor:
    """Nearest neighbour, x (..., *old sides) -> (..., *sides): the element whose area has the centre of the new one."""
    for axis, count in enumerate(bounded(sides), start=-len(sides)):
        x = _select(x, axis, [(2 * i + 1) * x.shape[axis] // (2 * count) for i in range(count)])
    return x


def _select(x: Tensor, axis: int, indices: list[int]) -> Tensor:
    bounded((len(indices), x.numel() // max(1, x.shape[axis])))
    return x.index_select(axis, torch.tensor(indices, dtype=torch.int64))


def resize_nearest_neighbor(m: Float32, x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """Nearest element, with pixels as areas, as in tf.image.resize."""
    return _nearest(x, [int(target_size_height), int(target_size_width)])


def resize_bilinear(
    m: Float32, x: Tensor, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Linear interpolation of the last two axes to a size."""
    return _linear(m, x, [int(target_size_height), int(target_size_width)], sampling_mode)


def resize(
    m: Float32,
    x: Tensor,
    *,
    shape: Tensor,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Resize the last ``resized_dims`` axes to the last sides of ``shape``; a side of 0 keeps its axis.

    Raises:
        NotImplementedError: Nearest neighbours with another sampling than ``DEFAULT``, which is not specified.
    """
    target = integers(shape, [])
    target = target[len(target) - int(resized_dims) :]
    sides = [side or x.shape[axis] for axis, side in enumerate(target, start=-len(target))]
    if interpolation_mode == "LINEAR":
        return _linear(m, x, sides, sampling_mode)
    if interpolation_mode != "NEAREST_NEIGHBOR" or sampling_mode != "DEFAULT":
        raise NotImplementedError(f"{interpolation_mode} sampled by {sampling_mode}")
    return _nearest(x, sides)


def upsample_nearest_neighbor(
    m: Float32, x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Tensor:
    """Element floor(i / scale) of the last two axes.

    Raises:
        NotImplementedError: The scale is not an integer, and floor(i n / k) would be another element.
    """
    for axis, scale in ((-2, scale_factor_height), (-1, scale_factor_width)):
        length = x.shape[axis]
        (count,) = bounded([floor(length * scale)])
        indices = [i * length // count for i in range(count)]
        if indices != [min(floor(i / scale), length - 1) for i in range(count)]:
            raise NotImplementedError(f"a scale of {scale}")
        x = _select(x, axis, indices)
    return x


def upsample_bilinear(
    m: Float32,
    x: Tensor,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Linear interpolation of the last two axes to their sides times a scale, rounded down."""
    centred = not align_corners if half_pixel_centers is None else half_pixel_centers
    modes = {(True, False): "STRICT_ALIGN_CORNERS", (False, True): "UNALIGN_CORNERS", (False, False): "DEFAULT"}
    if (align_corners, centred) not in modes:
        raise NotImplementedError("align_corners with half_pixel_centers")
    sides = [floor(x.shape[-2] * scale_factor_height), floor(x.shape[-1] * scale_factor_width)]
    return _linear(m, x, sides, modes[align_corners, centred])


HANDLERS: Handlers = {
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
