"""Resizing of the last axes of a value, each axis by itself.

An axis of n elements becomes one of k, and element i is sampled at a point of the old axis, by the mode:

======================  ================================================
STRICT_ALIGN_CORNERS    i (n - 1) / (k - 1), and 0 where k = 1
ALIGN_CORNERS           the same, but (n - 1) / 2 where k = 1
DEFAULT                 i n / k
OFFSET_CORNERS          (i + 1/2) max(1, n - 1) / k
UNALIGN_CORNERS         (i + 1/2) n / k - 1/2
======================  ================================================

A point between two elements is interpolated linearly; one beyond the ends is taken to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.values import bounded, integers, known

_POINTS: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "STRICT_ALIGN_CORNERS": lambda i, n, k: i * (n - 1) / max(1, k - 1),
    "ALIGN_CORNERS": lambda i, n, k: i * (n - 1) / (k - 1) if k > 1 else i + (n - 1) / 2,
    "DEFAULT": lambda i, n, k: i * n / k,
    "OFFSET_CORNERS": lambda i, n, k: (i + 0.5) * max(1, n - 1) / k,
    "UNALIGN_CORNERS": lambda i, n, k: (i + 0.5) * n / k - 0.5,
}


def _linear(m: Exact, x: Tensor, sides: list[int], sampling_mode: str) -> Tensor:
    """x (..., *old sides) -> (..., *sides)."""
    for axis, count in enumerate(sides, start=-len(sides)):
        length = x.shape[axis]
        bounded((count, x.numel() // max(1, length)))
        places = torch.arange(count, dtype=torch.float64)
        points = known(_POINTS, sampling_mode, "sampling_mode")(places, length, count).clamp(0, length - 1)
        below = points.long()
        above = (below + 1).clamp_max(length - 1)
        share = (points - below).float().reshape(-1, *(1,) * (-axis - 1))
        low, high = m.round(x.index_select(axis, below) * (1 - share)), m.round(x.index_select(axis, above) * share)
        x = m.round(low + high)
    return x


def _nearest(x: Tensor, sides: list[int]) -> Tensor:
    """x (..., *old sides) -> (..., *sides): the element whose area the centre of the new one lies in."""
    for axis, count in enumerate(bounded(sides), start=-len(sides)):
        x = _taken(x, axis, [(2 * i + 1) * x.shape[axis] // (2 * count) for i in range(count)])
    return x


def _taken(x: Tensor, axis: int, places: list[int]) -> Tensor:
    bounded((len(places), x.numel() // max(1, x.shape[axis])))
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64))


def resize_nearest_neighbor(m: Exact, x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The nearest element, pixels being areas, as tf.image.resize has them."""
    return _nearest(x, [int(target_size_height), int(target_size_width)])


def resize_bilinear(
    m: Exact, x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Linear interpolation of the last two axes, to this size."""
    return _linear(m, x, [int(target_size_height), int(target_size_width)], sampling_mode)


def resize(
    m: Exact,
    x: Tensor,
    shape: Tensor,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last ``resized_dims`` axes to the last sides of ``shape``, of which 0 leaves an axis as it is.

    Raises:
        NotImplementedError: Nearest neighbours where sampling is not ``DEFAULT``, which is not specified.
    """
    wanted = integers(shape, [])
    wanted = wanted[len(wanted) - int(resized_dims) :]
    sides = [side or x.shape[axis] for axis, side in enumerate(wanted, start=-len(wanted))]
    if interpolation_mode == "LINEAR":
        return _linear(m, x, sides, sampling_mode)
    if interpolation_mode != "NEAREST_NEIGHBOR" or sampling_mode != "DEFAULT":
        raise NotImplementedError(f"{interpolation_mode} sampled by {sampling_mode}")
    return _nearest(x, sides)


def upsample_nearest_neighbor(
    m: Exact, x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Tensor:
    """Element floor(i / scale) of the last two axes.

    Raises:
        NotImplementedError: The scale is no integer, and floor(i n / k) would be another element.
    """
    for axis, scale in ((-2, scale_factor_height), (-1, scale_factor_width)):
        length = x.shape[axis]
        (count,) = bounded([floor(length * scale)])
        places = [i * length // count for i in range(count)]
        if places != [min(floor(i / scale), length - 1) for i in range(count)]:
            raise NotImplementedError(f"a scale of {scale}")
        x = _taken(x, axis, places)
    return x


def upsample_bilinear(
    m: Exact,
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Linear interpolation of the last two axes, to their sides times a scale, rounded down."""
    centred = not align_corners if half_pixel_centers is None else half_pixel_centers
    modes = {(True, False): "STRICT_ALIGN_CORNERS", (False, True): "UNALIGN_CORNERS", (False, False): "DEFAULT"}
    if (align_corners, centred) not in modes:
        raise NotImplementedError("align_corners with half_pixel_centers")
    sides = [floor(x.shape[-2] * scale_factor_height), floor(x.shape[-1] * scale_factor_width)]
    return _linear(m, x, sides, modes[align_corners, centred])


HANDLERS: Mapping[str, Callable[..., Any]] = {
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
