"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, axes_of


def _product(m: Float32, x: Tensor, axes: list[int]) -> Tensor:
    """Product of the elements, computed as a tree of pairs."""
    x = x.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
    while x.shape[-1] > 1:
        x = F.pad(x, (0, x.shape[-1] % 2), value=1)
        x = m.round(x[..., ::2] * x[..., 1::2])
    x = x.squeeze(-1)
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _log_sum_exp(m: Float32, x: Tensor, axes: list[int]) -> Tensor:
    """log(sum(exp(x))), computed without overflow by subtracting the largest element."""
    largest = x.amax(axes, keepdim=True)
    total = m.sum(m.round(torch.exp(m.round(x - largest))), axes, keep=True)
    return m.round(torch.log(total)) + largest


def _over_axes(reduce: Callable[[Float32, Tensor, list[int]], Tensor]) -> Callable[..., Tensor]:
    """Make the handler of a reduction; ``reduce`` keeps its axes, in ascending order, with length 1."""

    def handler(m: Float32, x: Tensor, axes: Tensor | None = None, keep_dims: bool = False) -> Tensor:
        over = sorted(set(axes_of(axes, x.ndim)))
        y = reduce(m, x, over).to(x.dtype)
        return y if keep_dims else y.squeeze(tuple(over))

    return handler


HANDLERS: Handlers = {
    "reduce_l1_norm": _over_axes(lambda m, x, axes: m.sum(x.abs(), axes, keep=True)),
    "reduce_l2_norm": _over_axes(lambda m, x, axes: torch.sqrt(m.sum(m.round(x * x), axes, keep=True))),
    "reduce_log_sum": _over_axes(lambda m, x, axes: torch.log(m.sum(x, axes, keep=True))),
    "reduce_log_sum_exp": _over_axes(_log_sum_exp),
    "reduce_max": _over_axes(lambda m, x, axes: x.amax(axes, keepdim=True)),
    "reduce_mean": _over_axes(lambda m, x, axes: m.mean(x, axes, keep=True)),
    "reduce_min": _over_axes(lambda m, x, axes: x.amin(axes, keepdim=True)),
    "reduce_prod": _over_axes(_product),
    "reduce_sum": _over_axes(lambda m, x, axes: m.sum(x, axes, keep=True)),
    "reduce_sum_square": _over_axes(lambda m, x, axes: m.sum(m.round(x * x), axes, keep=True)),
}
