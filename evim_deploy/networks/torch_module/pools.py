"""Pools in a form that all engines compute alike: without ``ceil_mode``, and without counted padding.

Engines disagree on the divisor of a window that reaches over a map's edge. Core ML is reported to divide by the whole
kernel where ``ceil_mode`` adds to the map (coremltools #2772, #2844), and to be wrong where much padding counts
(#1901); ONNX Runtime's divisor depends on the opset (onnxruntime #16203, #24681); torch pads both ends alike. Here a
separate operation pads the map with zeros, the pool has no padding, and a constant corrects the means of the windows
at the edges.

A maximum pads with copies of the edge instead of zeros: each window over the edge contains the edge already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Side:
    """The steps of a pool's window along one axis of a map, in pixels.

    Attributes:
        kernel: Pixels in the window.
        stride: Distance from one window to the next.
        before: Padding before the first pixel.
        after: Padding after the last pixel.
        dilation: Distance from one pixel in the window to the next.
        ceil: Whether a last window may extend beyond the padding.
    """

    kernel: int
    stride: int
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil: bool = False

    def starts(self, length: int) -> range:
        """The first pixel of each window on an axis of a length; padding before the map has negative numbers.

        A window that would begin after the last pixel is left out, as in torch and ONNX Runtime.
        """
        room = length + self.before + self.after - self._reach
        if room < 0:
            raise ValueError(f"a window of {self._reach} pixels is larger than the map of {length} with its padding")
        count = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
        if self.ceil and (count - 1) * self.stride >= length + self.before:
            count -= 1
        return range(-self.before, count * self.stride - self.before, self.stride)

    def overhang(self, length: int) -> int:
        """Pixels of the last window beyond the padding."""
        return max(0, self.starts(length)[-1] + self._reach - length - self.after)

    def counts(self, length: int, before: int = 0, after: int = 0) -> list[int]:
        """The number of pixels of each window on the map, and on some padding before and after it."""
        taps = range(0, self._reach, self.dilation)
        counts = [sum(-before <= start + tap < length + after for tap in taps) for start in self.starts(length)]
        if 0 in counts:
            raise ValueError("a window lies beside the map")
        return counts

    @property
    def _reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_even(self) -> bool:
        """Whether torch's pools have this padding."""
        return self.before == self.after and 2 * self.before <= self.kernel


def divisors(sides: Sequence[Side], lengths: Sequence[int], counts_padding: bool) -> npt.NDArray[np.int64]:
    """Number of pixels of each window on a map of some lengths, with or without its padding, (*windows)."""
    counts = np.ones((), np.int64)
    for side, length in zip(sides, lengths, strict=True):
        padding = (side.before, side.after) if counts_padding else (0, 0)
        counts = np.multiply.outer(counts, np.array(side.counts(length, *padding)))
    return counts


def average_pool(x: Tensor, sides: Sequence[Side], counts: npt.NDArray[np.int64] | None = None) -> Tensor:
    """The mean of each window.

    Args:
        x: (B, C, *map).
        sides: The window along each axis of the map, without dilation.
        counts: Divisor of the sum of each window, (*windows); None for its number of pixels on the map.

    Returns:
        (B, C, *windows)

    Raises:
        ValueError: A window is larger than the map, or lies beside it.
    """
    pool, kernel, strides, lengths = _pool("avg", x, sides)
    overhangs = [side.overhang(length) for side, length in zip(sides, lengths, strict=True)]
    if counts is None and not any(overhangs) and all(side.is_even for side in sides):
        return pool(x, kernel, strides, [side.before for side in sides], count_include_pad=False)
    share = prod(kernel) / (divisors(sides, lengths, False) if counts is None else counts)
    mean = pool(_padded(x, sides, overhangs), kernel, strides)
    return mean if (share == 1).all() else mean * torch.tensor(share.tolist(), dtype=x.dtype)


def max_pool(x: Tensor, sides: Sequence[Side]) -> Tensor:
    """The largest element of each window; padding is ignored.

    Args:
        x: (B, C, *map).
        sides: The window along each axis of the map.

    Returns:
        (B, C, *windows)

    Raises:
        ValueError: A window is larger than the map, or lies beside it.
    """
    pool, kernel, strides, lengths = _pool("max", x, sides)
    overhangs = [side.overhang(length) for side, length in zip(sides, lengths, strict=True)]
    dilations = [side.dilation for side in sides]
    if not any(overhangs) and all(side.is_even for side in sides):
        return pool(x, kernel, strides, [side.before for side in sides], dilations)
    how = {"value": -torch.inf} if max(dilations) > 1 else {"mode": "replicate"}
    return pool(_padded(x, sides, overhangs, **how), kernel, strides, 0, dilations)


def _pool(kind: str, x: Tensor, sides: Sequence[Side]) -> tuple[Callable[..., Tensor], list[int], list[int], list[int]]:
    """torch's pool for a number of axes, its kernel and strides, and the map's lengths.

    Raises:
        ValueError: A window is larger than the map, or lies beside it.
    """
    lengths = [int(length) for length in x.shape[2:]]
    divisors(sides, lengths, False)
    function: Callable[..., Tensor] = getattr(F, f"{kind}_pool{len(sides)}d")
    return function, [side.kernel for side in sides], [side.stride for side in sides], lengths


def _padded(x: Tensor, sides: Sequence[Side], overhangs: Sequence[int], **how: Any) -> Tensor:
    amounts = [(side.before, side.after + over) for side, over in zip(sides, overhangs, strict=True)]
    flat = [amount for both in reversed(amounts) for amount in both]  # torch begins with the last axis
    return F.pad(x, flat, **how) if any(flat) else x


class Pool(nn.Module):
    """A pool of torch in this form."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        settings: Any = pool
        count = int(type(pool).__name__[-2])  # of axes: AvgPool2d
        names = ("kernel_size", "stride", "padding", "padding", "dilation")
        each = [_of_each(getattr(settings, name, 1), count) for name in names]
        self.sides = tuple(
            Side(
                kernel=kernel,
                stride=stride,
                before=before,
                after=after,
                dilation=dilation,
                ceil=bool(settings.ceil_mode),
            )
            for kernel, stride, before, after, dilation in zip(*each, strict=True)
        )
        self.is_maximum = isinstance(pool, _MAXIMA)
        self.counts_padding = bool(getattr(settings, "count_include_pad", False))

    def forward(self, x: Tensor) -> Tensor:
        if self.is_maximum:
            return max_pool(x, self.sides)
        lengths = [int(length) for length in x.shape[2:]]
        return average_pool(x, self.sides, divisors(self.sides, lengths, True) if self.counts_padding else None)


def _of_each(value: Any, count: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * count


_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d)
_MAXIMA = (nn.MaxPool1d, nn.MaxPool2d)


def write_pools(model: nn.Module) -> tuple[str, ...]:
    """Replace the pools of a model that engines compute differently, in place, and return their names."""
    names = [name for name, module in model.named_modules(remove_duplicate=False) if _is_ambiguous(module)]
    for name in names:
        model.set_submodule(name, Pool(model.get_submodule(name)))
    return tuple(names)


def _is_ambiguous(module: nn.Module) -> bool:
    """Whether engines compute a pool differently; exactly torch's classes, since a subclass may pad by itself."""
    if type(module) in _MAXIMA:
        return bool(module.ceil_mode) and not module.return_indices
    if type(module) not in _AVERAGES or getattr(module, "divisor_override", None) is not None:
        return False
    return bool(module.ceil_mode) or bool(module.count_include_pad and any(_of_each(module.padding, 1)))
