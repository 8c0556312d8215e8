"""Convolutions and transposed convolutions."""

from __future__ import annotations

from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.padding import padded, padding
from runtimes.mil.values import Handlers, bounded, bounded_intermediate, integers


def conv(
    m: Float32,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolution of x (B, C, *sides) with weight (O, C/groups, *kernel)."""
    kernel = list(weight.shape[2:])
    stride = integers(strides, [1] * len(kernel))
    dilation = integers(dilations, [1] * len(kernel))
    amounts = padding(pad_type, pad, sides=list(x.shape[2:]), kernel=kernel, stride=stride, dilation=dilation)
    x = padded(x, amounts)
    bounded((len(x), len(weight), *_grid(x, kernel, stride, dilation)))
    return m.conv(x, weight, bias, stride=stride, dilation=dilation, groups=groups)


def conv_transpose(
    m: Float32,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Tensor | None = None,
    output_shape: Tensor | None = None,
    pad_type: str = "valid",
    strides: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: int = 1,
) -> Tensor:
    """Transposed convolution of x (B, C, *sides) with weight (C, O/groups, *kernel).

    It is computed as a convolution of x with ``strides`` - 1 zeros between its elements.
    """
    kernel = list(weight.shape[2:])
    stride = integers(strides, [1] * len(kernel))
    dilation = integers(dilations, [1] * len(kernel))
    reach = [gap * (size - 1) for size, gap in zip(kernel, dilation, strict=True)]
    full = [(side - 1) * step + far + 1 for side, step, far in zip(x.shape[2:], stride, reach, strict=True)]
    bounded((len(x), weight.shape[1] * groups, *full))
    same = [side * step for side, step in zip(x.shape[2:], stride, strict=True)]
    amounts = _crops(pad_type, pad, integers(output_shape, [])[2:], same=same, full=full)
    # zeros after the end, if the output is longer than the products reach
    longer = [(far, far + max(0, -after)) for far, (_, after) in zip(reach, amounts, strict=True)]
    x, ones = padded(_stretched(x, stride), longer), [1] * len(kernel)
    y = m.conv(x, _flipped(weight, groups), bias, stride=ones, dilation=dilation, groups=groups)
    for axis, (before, after) in enumerate(amounts, start=2):
        y = y.narrow(axis, before, y.shape[axis] - before - max(0, after))
    return y


def _grid(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> list[int]:
    """Return the number of windows along each side."""
    return [
        (side - gap * (size - 1) - 1) // step + 1
        for side, size, step, gap in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]


def _crops(
    pad_type: str, pad: Tensor | None, output: list[int], *, same: list[int], full: list[int]
) -> list[tuple[int, int]]:
    """Return the elements to cut off before and after each side of the full output; negative if it is extended.

    Args:
        pad_type: ``custom``, ``valid`` or ``same``.
        pad: The elements to cut off for ``custom``.
        output: Declared sides of the output; empty if there are none.
        same: Default sides of the output for ``same``.
        full: Sides of the full output.

    Raises:
        NotImplementedError: The type is unknown, or ``custom`` contradicts the declared output.
        ValueError: An amount is negative.
    """
    if pad_type == "custom":
        flat = integers(pad, [0] * (2 * len(full)))
        crops = list(zip(flat[::2], flat[1::2], strict=True))
        if output and output != [side - sum(pair) for side, pair in zip(full, crops, strict=True)]:
            raise NotImplementedError("custom padding with another output_shape")
        if min(flat) < 0:
            raise ValueError(f"a negative padding in {crops}")
        return crops
    if pad_type == "valid":
        return [(0, side - size) for side, size in zip(full, output or full, strict=True)]
    if pad_type != "same":
        raise NotImplementedError(f"pad_type {pad_type!r}")
    surplus = [side - size for side, size in zip(full, output or same, strict=True)]
    return [(max(0, more) // 2, more - max(0, more) // 2) for more in surplus]


def _stretched(x: Tensor, stride: list[int]) -> Tensor:
    """Put ``stride`` - 1 zeros between the elements of x (B, C, *sides)."""
    sides = [(side - 1) * step + 1 for side, step in zip(x.shape[2:], stride, strict=True)]
    y = x.new_zeros(bounded_intermediate((*x.shape[:2], *sides)))
    y[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return y


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """Transpose the channels and flip the kernel, (C, O/groups, *kernel) -> (O, C/groups, *kernel)."""
    grouped = weight.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, O/groups, C/groups, *kernel)
    return grouped.flatten(0, 1).flip(list(range(2, weight.ndim)))


HANDLERS: Handlers = {"conv": conv, "conv_transpose": conv_transpose}
