"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.convolution import integers


def reduce_sum(m: Exact, x: Tensor, axes: Tensor | None = None, keep_dims: bool = False) -> Tensor:
    return m.sum(x, integers(axes, list(range(x.ndim))), keep_dims)


def reduce_mean(m: Exact, x: Tensor, axes: Tensor | None = None, keep_dims: bool = False) -> Tensor:
    return m.mean(x, integers(axes, list(range(x.ndim))), keep_dims)


HANDLERS: Mapping[str, Callable[..., Any]] = {"reduce_sum": reduce_sum, "reduce_mean": reduce_mean}
