"""Padding of what is slid over: by type, as convolutions and pools take it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.values import bounded, integers

Amounts = list[tuple[int, int]]
"""What is put before and after each of the last axes."""


def padding(
    pad_type: str, pad: Tensor | None, sides: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> Amounts:
    """Amounts by the type: ``valid``, ``custom``, for which ``pad`` counts, ``same`` or ``same_lower``.

    ``same`` gives ceil(side / stride) windows; what is odd goes after the side, in ``same_lower`` before it.

    Raises:
        NotImplementedError: The type is not known.
        ValueError: An amount is missing.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sides)
    if pad_type == "custom":
        flat = integers(pad, [0] * (2 * len(sides)))
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise NotImplementedError(f"pad_type {pad_type!r}")
    found = []
    for side, size, step, gap in zip(sides, kernel, stride, dilation, strict=True):
        total = max(0, (-(-side // step) - 1) * step + gap * (size - 1) + 1 - side)
        small, large = total // 2, total - total // 2
        found.append((small, large) if pad_type == "same" else (large, small))
    return found


def padded(x: Tensor, amounts: Amounts, value: float = 0) -> Tensor:
    """The last axes of x padded with a value.

    Raises:
        ValueError: An amount is negative, or the result would be too large.
    """
    flat = [amount for pair in reversed(amounts) for amount in pair]  # as torch takes it, the last axis first
    if min(flat, default=0) < 0:
        raise ValueError(f"a negative padding in {amounts}")
    first = x.ndim - len(amounts)
    if first < 0:
        raise ValueError(f"padding of {len(amounts)} axes where there are {x.ndim}")
    bounded((*x.shape[:first], *(side + sum(pair) for side, pair in zip(x.shape[first:], amounts, strict=True))))
    return F.pad(x, flat, value=value) if any(flat) else x
