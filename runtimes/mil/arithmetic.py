"""How numbers are computed: the modes of the evaluator.

=========  =========================================================================================
``fp32``   what the program means: every float in float32
``fp16``   an operation computes in float32, and what it gives is rounded as the program stores it
``ane``    pessimistic, for the Neural Engine: inside an operation on float16 too, each step is
           rounded, a sum adds at most :data:`TERMS` terms before its partial sum is rounded, and
           subnormal numbers become zero
=========  =========================================================================================

Apple does not document the Neural Engine's arithmetic; ``ane`` is meant to be worse than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor
from torch.nn import functional as F

MODES = ("fp32", "fp16", "ane")

TERMS = 8
"""Terms of a sum that ``ane`` adds before it rounds: a guess at one step of a dot product in hardware."""

SMALLEST_NORMAL = 2.0**-14
"""Of float16; what is smaller has fewer bits, and the Neural Engine may take it for zero."""


class Exact:
    """Float32 from end to end, what ``fp32`` and ``fp16`` compute an operation in."""

    def round(self, x: Tensor) -> Tensor:
        """A value between two steps of one operation."""
        return x

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Sum over axes, which stay with length 1 where ``keep`` is set."""
        return x.sum(tuple(axes), keepdim=keep) if axes else x

    def mean(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        """Mean over axes."""
        return self.round(self.sum(x, axes, keep) / prod(x.shape[axis] for axis in axes))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., M, K) (..., K, N) -> (..., M, N)."""
        return a @ b

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        """Convolution without padding of x (B, C, *sides) with weight (O, C/groups, *kernel)."""
        return _CONVOLUTIONS[x.ndim](x, weight, bias, stride, 0, dilation, groups)


class Half(Exact):
    """Float16 inside an operation, too: what ``ane`` computes operations on float16 in."""

    def round(self, x: Tensor) -> Tensor:
        rounded = x.half().float()
        return rounded.masked_fill_(rounded.abs() < SMALLEST_NORMAL, 0)

    def sum(self, x: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
        if not axes:
            return x
        positive = sorted(axis % x.ndim for axis in axes)
        total = self._partial_sums(x.movedim(positive, list(range(-len(axes), 0))).flatten(-len(axes)))
        for axis in positive if keep else ():
            total = total.unsqueeze(axis)
        return total

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        pad = -a.shape[-1] % TERMS
        a, b = F.pad(a, (0, pad)), F.pad(b, (0, 0, 0, pad))
        blocks = a.shape[-1] // TERMS
        a = a.unflatten(-1, (blocks, TERMS)).movedim(-2, -3)  # (..., blocks, M, TERMS)
        b = b.unflatten(-2, (blocks, TERMS))  # (..., blocks, TERMS, N)
        return self._partial_sums(self.round(a @ b).movedim(-3, -1))

    def conv(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], dilation: list[int], groups: int
    ) -> Tensor:
        patches, sides = _patches(x, list(weight.shape[2:]), stride, dilation)  # (B, C * taps, L)
        patches = patches.unflatten(1, (groups, -1))  # (B, G, C/G * taps, L)
        rows = weight.flatten(1).unflatten(0, (groups, -1))  # (G, O/G, C/G * taps)
        y = self.matmul(rows, patches).flatten(1, 2).unflatten(2, sides)  # (B, O, *sides)
        return y if bias is None else self.round(y + bias.view(-1, *(1,) * len(sides)))

    def _partial_sums(self, x: Tensor) -> Tensor:
        """Sum over the last axis, in a tree whose nodes add at most TERMS terms and round."""
        while x.shape[-1] > 1:
            x = F.pad(x, (0, -x.shape[-1] % TERMS))
            x = self.round(x.unflatten(-1, (-1, TERMS)).sum(-1))
        return x[..., 0]


_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def _patches(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int]) -> tuple[Tensor, list[int]]:
    """Every window of x (B, C, *sides) as a column, (B, C * taps, L), and the sides of the windows' grid."""
    batch, channels = x.shape[:2]
    for axis, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(axis, gap * (size - 1) + 1, step)[..., ::gap]  # the windows' taps come last
    sides = list(x.shape[2 : 2 + len(kernel)])
    taps = x.movedim(tuple(range(-len(kernel), 0)), tuple(range(2, 2 + len(kernel))))  # (B, C, *taps, *sides)
    return taps.reshape(batch, channels * prod(kernel), prod(sides)), sides
