"""Padding of convolutions and pools, by type."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.values import bounded, integers

Amounts = list[tuple[int, int]]
"""Number of elements before and after each of the last axes."""


def padding(
    pad_type: str, pad: Tensor | None, *, sides: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> Amounts:
    """Return the amounts of ``valid``, ``custom`` (those of ``pad``), ``same`` or ``same_lower`` padding.

    ``same`` results in ceil(side / stride) windows; an odd element goes after the side, in ``same_lower`` before it.

    Raises:
        NotImplementedError: The type is unknown.
        ValueError: An amount is missing.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sides)
    if pad_type == "custom":
        flat = integers(pad, [0] * (2 * len(sides)))
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise NotImplementedError(f"pad_type {pad_type!r}")
    amounts = []
    for side, size, step, gap in zip(sides, kernel, stride, dilation, strict=True):
        total = max(0, (-(-side // step) - 1) * step + gap * (size - 1) + 1 - side)
        small, large = total // 2, total - total // 2
        amounts.append((small, large) if pad_type == "same" else (large, small))
    return amounts


def padded(x: Tensor, amounts: Amounts, value: float = 0) -> Tensor:
    """Pad the last axes of x with a value.

    Raises:
        ValueError: An amount is negative, or the result would be too large.
    """
    flat = [amount for pair in reversed(amounts) for amount in pair]  # in the order of torch, the last axis first
    if min(flat, default=0) < 0:
        raise ValueError(f"a negative padding in {amounts}")
    first = x.ndim - len(amounts)
    if first < 0:
        raise ValueError(f"padding of {len(amounts)} axes of {x.ndim}")
    bounded((*x.shape[:first], *(side + sum(pair) for side, pair in zip(x.shape[first:], amounts, strict=True))))
    return F.pad(x, flat, value=value) if any(flat) else x
