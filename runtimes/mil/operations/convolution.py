"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.padding import padded, padding
from runtimes.mil.values import bounded, integers, on_the_way


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
    """x (B, C, *sides) with weight (O, C/groups, *kernel)."""
    kernel = list(weight.shape[2:])
    stride = integers(strides, [1] * len(kernel))
    dilation = integers(dilations, [1] * len(kernel))
    amounts = padding(pad_type, pad, list(x.shape[2:]), kernel, stride, dilation)
    x = padded(x, amounts)
    bounded((len(x), len(weight), *_grid(x, kernel, stride, dilation)))
    return m.conv(x, weight, bias, stride, dilation, groups)


def conv_transpose(
    m: Exact,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Tensor | None = None,
    output_shape: Tensor | None = None,
    pad_type: str = "valid",
    strides: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: int = 1,
) -> Tensor:
    """x (B, C, *sides) with weight (C, O/groups, *kernel): what takes a convolution's gradient to its input.

    Computed as a convolution of x with ``strides`` - 1 zeros put between its elements.
    """
    kernel = list(weight.shape[2:])
    stride = integers(strides, [1] * len(kernel))
    dilation = integers(dilations, [1] * len(kernel))
    reach = [gap * (size - 1) for size, gap in zip(kernel, dilation, strict=True)]
    full = [(side - 1) * step + far + 1 for side, step, far in zip(x.shape[2:], stride, reach, strict=True)]
    bounded((len(x), weight.shape[1] * groups, *full))
    amounts = _crops(pad_type, pad, integers(output_shape, [])[2:], list(x.shape[2:]), stride, full)
    # zeros after the end, where the output is to be longer than the products reach
    longer = [(far, far + max(0, -after)) for far, (_, after) in zip(reach, amounts, strict=True)]
    x, ones = padded(_stretched(x, stride), longer), [1] * len(kernel)
    y = m.conv(x, _turned(weight, groups), bias, ones, dilation, groups)
    for axis, (before, after) in enumerate(amounts, start=2):
        y = y.narrow(axis, before, y.shape[axis] - before - max(0, after))
    return y


def _grid(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> list[int]:
    """How many windows lie along each side."""
    return [
        (side - gap * (size - 1) - 1) // step + 1
        for side, size, step, gap in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]


def _crops(
    pad_type: str, pad: Tensor | None, wanted: list[int], sides: list[int], stride: list[int], full: list[int]
) -> list[tuple[int, int]]:
    """What is cut off before and after each side of the full output; negative where it is extended."""
    if pad_type == "custom":
        flat = integers(pad, [0] * (2 * len(sides)))
        crops = list(zip(flat[::2], flat[1::2], strict=True))
        if wanted and wanted != [side - sum(pair) for side, pair in zip(full, crops, strict=True)]:
            raise NotImplementedError("custom padding with another output_shape")
        if min(flat) < 0:
            raise ValueError(f"a negative padding in {crops}")
        return crops
    if pad_type == "valid":
        return [(0, side - want) for side, want in zip(full, wanted or full, strict=True)]
    if pad_type != "same":
        raise NotImplementedError(f"pad_type {pad_type!r}")
    wanted = wanted or [side * step for side, step in zip(sides, stride, strict=True)]
    surplus = [side - want for side, want in zip(full, wanted, strict=True)]
    return [(max(0, more) // 2, more - max(0, more) // 2) for more in surplus]


def _stretched(x: Tensor, stride: list[int]) -> Tensor:
    """x (B, C, *sides) with ``stride`` - 1 zeros between its elements."""
    sides = [(side - 1) * step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    y = x.new_zeros(on_the_way((*x.shape[:2], *sides)))
    y[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return y


def _turned(weight: Tensor, groups: int) -> Tensor:
    """(C, O/groups, *kernel) -> (O, C/groups, *kernel), the kernel turned around."""
    grouped = weight.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, O/groups, C/groups, *kernel)
    return grouped.flatten(0, 1).flip(list(range(2, weight.ndim)))


HANDLERS: Mapping[str, Callable[..., Any]] = {"conv": conv, "conv_transpose": conv_transpose}
