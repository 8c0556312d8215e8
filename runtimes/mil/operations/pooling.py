"""Pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact, windows
from runtimes.mil.operations.padding import Amounts, padded, padding
from runtimes.mil.values import integers


class _Pool:
    """Where the windows of a pool lie on x (B, C, *sides)."""

    def __init__(
        self,
        x: Tensor,
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
        self.amounts = padding(pad_type, pad, sides, self.kernel, self.stride, self.dilation)
        self.overhang: Amounts = [(0, 0)] * len(sides)  # what the last windows of ceil_mode reach over the padding
        if ceil_mode:
            whole = zip(sides, self.amounts, self.kernel, self.stride, strict=True)
            self.overhang = [(0, _overhang(*each)) for each in whole]

    def windows(self, x: Tensor, value: float, overhang_value: float) -> Tensor:
        """(B, C, *sides) -> (B, C, *grid, taps)."""
        x = padded(padded(x, self.amounts, value), self.overhang, overhang_value)
        return windows(x, self.kernel, self.stride, self.dilation).flatten(-len(self.kernel))


def _overhang(side: int, pad: tuple[int, int], size: int, step: int) -> int:
    """How far the last window of ``ceil_mode`` reaches over the padding.

    Raises:
        NotImplementedError: It holds no element. The specification leaves it out where there is padding, which Core ML
            is reported not to do, and is silent where there is none.
    """
    padded_side = side + sum(pad)
    count = -(-(padded_side - size) // step) + 1
    if (count - 1) * step >= side + pad[0]:
        raise NotImplementedError("ceil_mode, and a window without an element")
    return max(0, (count - 1) * step + size - padded_side)


def max_pool(
    m: Exact,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest of each window; padding counts for nothing."""
    pool = _Pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return pool.windows(x, -torch.inf, -torch.inf).amax(-1)


def avg_pool(
    m: Exact,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    """The mean of each window, padding with or without.

    Raises:
        NotImplementedError: Padding counts, and ``ceil_mode`` adds to it: the specification does not count that, and
            Core ML is reported to.
    """
    pool = _Pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if not exclude_padding_from_average and any(map(any, pool.overhang)):
        raise NotImplementedError("ceil_mode, counted padding and a window that reaches beyond the end")
    counted = pool.windows(torch.ones_like(x[:1, :1]), 0 if exclude_padding_from_average else 1, 0).sum(-1)
    elements = pool.windows(x, 0, 0)
    return m.mean(elements, [-1], keep=False) * (elements.shape[-1] / counted)


def l2_pool(
    m: Exact,
    x: Tensor,
    kernel_sizes: Tensor,
    pad_type: str,
    strides: Tensor | None = None,
    pad: Tensor | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The root of the sum of squares of each window."""
    pool = _Pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return torch.sqrt(m.sum(pool.windows(m.round(x * x), 0, 0), [-1], keep=False))


HANDLERS: Mapping[str, Callable[..., Any]] = {"avg_pool": avg_pool, "l2_pool": l2_pool, "max_pool": max_pool}
