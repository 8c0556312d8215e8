"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Exact


def conv(
    m: Exact,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: int = 1,
) -> Tensor:
    """x (B, C, *sides) with weight (O, C/groups, *kernel), as ``conv`` of iOS 15."""
    kernel = list(weight.shape[2:])
    stride = integers(strides, [1] * len(kernel))
    dilation = integers(dilations, [1] * len(kernel))
    sides = padding(pad_type, pad, list(x.shape[2:]), kernel, stride, dilation)
    return m.conv(F.pad(x, outermost_last(sides)), weight, bias, stride, dilation, groups)


def integers(values: Tensor | None, default: list[int]) -> list[int]:
    """A rank-1 constant as integers."""
    return default if values is None else [int(value) for value in values]


def padding(
    pad_type: str, pad: Tensor | None, sides: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> list[tuple[int, int]]:
    """What is put before and after each side; ``pad`` counts for ``custom`` alone."""
    if pad_type == "valid":
        return [(0, 0)] * len(sides)
    if pad_type == "custom":
        flat = integers(pad, [0] * (2 * len(sides)))
        return list(zip(flat[::2], flat[1::2], strict=True))
    found = []
    for side, size, step, gap in zip(sides, kernel, stride, dilation, strict=True):
        total = max(0, (-(-side // step) - 1) * step + gap * (size - 1) + 1 - side)
        small, large = total // 2, total - total // 2
        found.append({"same": (small, large), "same_lower": (large, small)}[pad_type])
    return found


def outermost_last(sides: list[tuple[int, int]]) -> list[int]:
    """Padding as torch takes it, the last axis first."""
    return [amount for pair in reversed(sides) for amount in pair]


def linear(m: Exact, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., D_in) times the transposed weight (D_out, D_in)."""
    y = m.matmul(x, weight.mT)
    return y if bias is None else m.round(y + bias)


def matmul(m: Exact, x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Matrix product over the last two axes, the others broadcast."""
    return m.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y)


HANDLERS: Mapping[str, Callable[..., Any]] = {"conv": conv, "linear": linear, "matmul": matmul}
