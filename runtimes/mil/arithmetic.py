"""The arithmetic of the evaluator in each mode.

=========  =========================================================================================
``fp32``   every float is float32
``fp16``   an operation computes in float32, and its result is rounded to the type in the program
``ane``    a pessimistic Neural Engine: an operation on float16 also rounds each of its steps, and a
           sum adds at most :data:`TERMS` terms before its partial sum is rounded
=========  =========================================================================================

Apple does not document the arithmetic of the Neural Engine; ``ane`` is meant to be less accurate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.values import bounded_intermediate

TERMS = 8
"""Number of terms that ``ane`` adds before it rounds: an estimate of one step of a dot product in hardware."""

SMALLEST_NORMAL = 2.0**-14
"""Smallest normal float16; smaller numbers have fewer bits, and hardware may flush them to zero."""

_PARTIAL_SUMS = 2**19  # elements that a matrix product holds at a time; they fit in a cache


class Float32:
    """Float32 throughout: the arithmetic inside an operation in ``fp32`` and ``fp16``.

    Attributes:
        overflows: Number of finite values that became infinite inside operations.
    """

    overflows = 0

    def round(self, x: Tensor) -> Tensor:
        """Round a value between two steps of an operation."""
        return x

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Sum over axes; ``keep`` keeps them with length 1."""
        return x.sum(tuple(axes), keepdim=keep) if axes else x

    def mean(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Mean over axes; ``keep`` keeps them with length 1."""
        return self.sum(x, axes, keep) / prod(x.shape[axis] for axis in axes)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Matrix product, (..., M, K) (..., K, N) -> (..., M, N)."""
        return a @ b

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        """Convolution without padding of x (B, C, *sides) with weight (O, C/groups, *kernel)."""
        return _CONVOLUTIONS[x.ndim](x, weight, bias, stride, 0, dilation, groups)


class Float16(Float32):
    """Float16 after each step: the arithmetic inside an operation with a float16 input or output in ``ane``."""

    def round(self, x: Tensor) -> Tensor:
        rounded, anomalies = round_to_float16(x)
        self.overflows += anomalies["overflow"]
        return rounded

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        return self._reduced(x, axes, keep, self._partial_sums) if axes else x

    def mean(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        return self._reduced(x, axes, keep, self._mean)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = _padded(a, -1), _padded(b, -2)
        blocks = a.shape[-1] // TERMS
        a = a.unflatten(-1, (blocks, TERMS)).movedim(-2, -3)  # (..., blocks, M, TERMS)
        rows = blocks * a.shape[-2] * prod(torch.broadcast_shapes(a.shape[:-3], b.shape[:-2]))
        parts = []
        for part in b.split(max(1, _PARTIAL_SUMS // rows), -1):
            products = self.round(a @ part.unflatten(-2, (blocks, TERMS)))  # (..., blocks, M, part of N)
            parts.append(self._partial_sums(products, -3))
        return torch.cat(parts, -1)

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        patches, sides = _patches(x, list(weight.shape[2:]), stride, dilation)  # (B, C * taps, L)
        patches = patches.unflatten(1, (groups, -1))  # (B, G, C/G * taps, L)
        rows = weight.flatten(1).unflatten(0, (groups, -1))  # (G, O/G, C/G * taps)
        y = self.matmul(rows, patches).flatten(1, 2).unflatten(2, sides)  # (B, O, *sides)
        return y if bias is None else self.round(y + bias.view(-1, *(1,) * len(sides)))

    def _reduced(self, x: Tensor, axes: Sequence[int], keep: bool, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Reduce all axes at once, flattened into a last axis."""
        positive = sorted(axis % x.ndim for axis in axes)
        y = reduce(x.movedim(positive, list(range(-len(axes), 0))).flatten(-len(axes)), -1)
        for axis in positive if keep else ():
            y = y.unsqueeze(axis)
        return y

    def _mean(self, x: Tensor, axis: int) -> Tensor:
        """Mean as a tree of means, so that nothing overflows; the result is corrected for the padding zeros."""
        count = x.shape[axis]
        mean, nodes = self._partial_sums(x, axis, 1 / TERMS), 1
        while nodes < count:
            nodes *= TERMS
        return self.round(mean / (count / nodes))

    def _partial_sums(self, x: Tensor, axis: int, scale: float = 1) -> Tensor:
        """Sum over an axis, counted from the last, as a tree; each node adds at most TERMS terms, scales and rounds."""
        while x.shape[axis] > 1:
            x = self.round(_padded(x, axis).unflatten(axis, (-1, TERMS)).sum(axis) * scale)
        return x.squeeze(axis)


def round_to_float16(x: Tensor) -> tuple[Tensor, Counter[str]]:
    """Round a value to float16; return it as float32, and the counts of ``overflow`` and ``nan`` elements."""
    rounded = x.half().float()
    if rounded.sum().isfinite():  # cheaper than to test each element
        return rounded, Counter()
    overflow, nan = rounded.isinf() & x.isfinite(), rounded.isnan()
    return rounded, Counter(overflow=int(overflow.sum()), nan=int(nan.sum()))


def _padded(x: Tensor, axis: int) -> Tensor:
    """Append zeros to an axis, counted from the last, up to a multiple of TERMS."""
    missing = -x.shape[axis] % TERMS
    return F.pad(x, (0, 0) * (-axis - 1) + (0, missing)) if missing else x  # an empty pad also copies


_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def windows(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> Tensor:
    """View every window of x (B, C, *sides) with its taps last, (B, C, *grid, *kernel)."""
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    bounded_intermediate(x.shape)
    return x


def _patches(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> tuple[Tensor, list[int]]:
    """Return the windows of x (B, C, *sides) as columns, (B, C * taps, L), and the sides of their grid."""
    spatial = len(kernel)
    taps_last = windows(x, kernel, stride, dilation)
    sides = list(taps_last.shape[2 : 2 + spatial])
    columns = taps_last.movedim(tuple(range(-spatial, 0)), tuple(range(2, 2 + spatial)))  # (B, C, *kernel, *sides)
    return columns.reshape(len(x), x.shape[1] * prod(kernel), prod(sides)), sides
