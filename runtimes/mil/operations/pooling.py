"""Pooling operations."""

from __future__ import annotations

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32, windows
from runtimes.mil.operations.padding import Amounts, padded, padding
from runtimes.mil.values import Handlers, integers


class _Pool:
    """The positions of the windows of a pool on x (B, C, *sides)."""

    def __init__(
        self,
        x: Tensor,
        *,
        kernel_sizes: Tensor,
        strides: Tensor | None,
        pad_type: str,
        pad: Tensor | None,
        ceil_mode: bool,
    ) -> None:
        sides = list(x.shape[2:])
        self.kernel = integers(kernel_sizes, [])
        self.stride = integers(strides, [1] * len(sides))
        self.dilation = [1] * len(sides)
        self.amounts = padding(
            pad_type, pad, sides=sides, kernel=self.kernel, stride=self.stride, dilation=self.dilation
        )
        self.overhang: Amounts = [(0, 0)] * len(sides)  # of the last windows over the padding, in ceil_mode
        if ceil_mode:
            whole = zip(sides, self.amounts, self.kernel, self.stride, strict=True)
            self.overhang = [(0, _overhang(*each)) for each in whole]

    def windows(self, x: Tensor, value: float, overhang_value: float) -> Tensor:
        """Return every window, (B, C, *sides) -> (B, C, *grid, taps)."""
        x = padded(padded(x, self.amounts, value), self.overhang, overhang_value)
        return windows(x, self.kernel, self.stride, self.dilation).flatten(-len(self.kernel))


def _overhang(side: int, pad: tuple[int, int], size: int, step: int) -> int:
    """Return the number of elements by which the last window of ``ceil_mode`` exceeds the padding.

    Raises:
        NotImplementedError: The window holds no element. With padding the specification omits such a window, which Core
            ML is reported not to do; without padding it does not define the case.
    """
    padded_side = side + sum(pad)
    count = -(-(padded_side - size) // step) + 1
    if (count - 1) * step >= side + pad[0]:
        raise NotImplementedError("ceil_mode and a window without an element")
    return max(0, (count - 1) * step + size - padded_side)


def max_pool(
    m: Float32,
    x: Tensor,
    *,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Largest element of each window, without the padding."""
    pool = _Pool(x, kernel_sizes=kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    return pool.windows(x, -torch.inf, -torch.inf).amax(-1)


def avg_pool(
    m: Float32,
    x: Tensor,
    *,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    """Mean of each window, with or without the padding.

    Raises:
        NotImplementedError: The padding counts and ``ceil_mode`` adds to it: the specification does not count the
            addition, and Core ML is reported to count it.
    """
    pool = _Pool(x, kernel_sizes=kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    if not exclude_padding_from_average and any(map(any, pool.overhang)):
        raise NotImplementedError("ceil_mode, counted padding and a window that exceeds it")
    counted = pool.windows(torch.ones_like(x[:1, :1]), 0 if exclude_padding_from_average else 1, 0).sum(-1)
    elements = pool.windows(x, 0, 0)
    return m.mean(elements, [-1], keep=False) * (elements.shape[-1] / counted)


def l2_pool(
    m: Float32,
    x: Tensor,
    *,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Square root of the sum of squares of each window."""
    pool = _Pool(x, kernel_sizes=kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    return torch.sqrt(m.sum(pool.windows(m.round(x * x), 0, 0), [-1], keep=False))


HANDLERS: Handlers = {"avg_pool": avg_pool, "l2_pool": l2_pool, "max_pool": max_pool}
