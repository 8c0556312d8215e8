"""How numbers are computed: the modes of the evaluator.

=========  =========================================================================================
``fp32``   what the program means: every float in float32
``fp16``   an operation computes in float32, and what it gives is rounded as the program stores it
``ane``    pessimistic, for the Neural Engine: inside an operation on float16 too, each step is
           rounded, and a sum adds at most :data:`TERMS` terms before its partial sum is rounded
=========  =========================================================================================

Apple does not document the Neural Engine's arithmetic; ``ane`` is meant to be worse than it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.values import on_the_way

MODES = ("fp32", "fp16", "ane")

TERMS = 8
"""Terms of a sum that ``ane`` adds before it rounds: a guess at one step of a dot product in hardware."""

SMALLEST_NORMAL = 2.0**-14
"""Of float16; what is smaller has fewer bits, and hardware may take it for zero."""

_PARTIAL_SUMS = 2**19  # elements that a matrix product holds at a time, which a cache holds, too


class Exact:
    """Float32 from end to end, what ``fp32`` and ``fp16`` compute an operation in.

    Attributes:
        overflows: How many finite values became infinite inside operations.
    """

    overflows = 0

    def round(self, x: Tensor) -> Tensor:
        """A value between two steps of one operation."""
        return x

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Sum over axes, which stay with length 1 where ``keep`` is set."""
        return x.sum(tuple(axes), keepdim=keep) if axes else x

    def mean(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Mean over axes, which stay with length 1 where ``keep`` is set."""
        return self.sum(x, axes, keep) / prod(x.shape[axis] for axis in axes)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., M, K) (..., K, N) -> (..., M, N)."""
        return a @ b

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        """Convolution without padding of x (B, C, *sides) with weight (O, C/groups, *kernel)."""
        return _CONVOLUTIONS[x.ndim](x, weight, bias, stride, 0, dilation, groups)


class Half(Exact):
    """Float16 inside an operation, too: what ``ane`` computes an operation in that takes or gives it."""

    def round(self, x: Tensor) -> Tensor:
        rounded, anomalies = halved(x)
        self.overflows += anomalies["overflow"]
        return rounded

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        return self._reduced(x, axes, keep, self._partial_sums) if axes else x

    def mean(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        return self._reduced(x, axes, keep, self._mean)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = _filled(a, -1), _filled(b, -2)
        blocks = a.shape[-1] // TERMS
        a = a.unflatten(-1, (blocks, TERMS)).movedim(-2, -3)  # (..., blocks, M, TERMS)
        rows = blocks * a.shape[-2] * prod(torch.broadcast_shapes(a.shape[:-3], b.shape[:-2]))
        parts = []
        for part in b.split(max(1, _PARTIAL_SUMS // rows), -1):
            products = self.round(a @ part.unflatten(-2, (blocks, TERMS)))  # (..., blocks, M, part of N)
            parts.append(self._partial_sums(products, -3))
        return torch.cat(parts, -1)

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        patches, sides = _patches(x, list(weight.shape[2:]), stride, dilation)  # (B, C * taps, L)
        patches = patches.unflatten(1, (groups, -1))  # (B, G, C/G * taps, L)
        rows = weight.flatten(1).unflatten(0, (groups, -1))  # (G, O/G, C/G * taps)
        y = self.matmul(rows, patches).flatten(1, 2).unflatten(2, sides)  # (B, O, *sides)
        return y if bias is None else self.round(y + bias.view(-1, *(1,) * len(sides)))

    def _reduced(self, x: Tensor, axes: Sequence[int], keep: bool, reduce: Callable[[Tensor, int], Tensor]) -> Tensor:
        """All axes at once, as one that is the last."""
        positive = sorted(axis % x.ndim for axis in axes)
        y = reduce(x.movedim(positive, list(range(-len(axes), 0))).flatten(-len(axes)), -1)
        for axis in positive if keep else ():
            y = y.unsqueeze(axis)
        return y

    def _mean(self, x: Tensor, axis: int) -> Tensor:
        """A tree of means, which overflows nowhere; what filled up its nodes is taken out in the end."""
        count = x.shape[axis]
        mean, nodes = self._partial_sums(x, axis, 1 / TERMS), 1
        while nodes < count:
            nodes *= TERMS
        return self.round(mean / (count / nodes))

    def _partial_sums(self, x: Tensor, axis: int, scale: float = 1) -> Tensor:
        """Sum over an axis, counted from the last, in a tree whose nodes add at most TERMS terms, scale and round."""
        while x.shape[axis] > 1:
            x = self.round(_filled(x, axis).unflatten(axis, (-1, TERMS)).sum(axis) * scale)
        return x.squeeze(axis)


def halved(x: Tensor) -> tuple[Tensor, Counter[str]]:
    """A value as float16 holds it, in float32; its elements that overflowed, and those that are no numbers, counted."""
    rounded = x.half().float()
    if rounded.sum().isfinite():  # cheaper than to look at each
        return rounded, Counter()
    overflow, nan = rounded.isinf() & x.isfinite(), rounded.isnan()
    return rounded, Counter(overflow=int(overflow.sum()), nan=int(nan.sum()))


def _filled(x: Tensor, axis: int) -> Tensor:
    """Zeros behind an axis, counted from the last, up to a multiple of TERMS; as it is where none is missing."""
    missing = -x.shape[axis] % TERMS
    return F.pad(x, (0, 0) * (-axis - 1) + (0, missing)) if missing else x  # a pad of nothing copies, too


_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def windows(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> Tensor:
    """Every window of x (B, C, *sides), its taps last: (B, C, *grid of windows, *kernel), a view."""
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]
    on_the_way(x.shape)
    return x


def _patches(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> tuple[Tensor, list[int]]:
    """Every window of x (B, C, *sides) as a column, (B, C * taps, L), and the sides of the windows' grid."""
    spatial = len(kernel)
    found = windows(x, kernel, stride, dilation)
    sides = list(found.shape[2 : 2 + spatial])
    taps = found.movedim(tuple(range(-spatial, 0)), tuple(range(2, 2 + spatial)))  # (B, C, *kernel, *sides)
    return taps.reshape(len(x), x.shape[1] * prod(kernel), prod(sides)), sides
