"""Norms and softmax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Exact
from runtimes.mil.operations.convolution import integers


def layer_norm(
    m: Exact,
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over any axes, with gamma and beta over these."""
    over = integers(axes, list(range(x.ndim)))
    centred = m.round(x - m.mean(x, over, keep=True))
    variance = m.mean(m.round(centred * centred), over, keep=True)
    y = m.round(centred * m.round(torch.rsqrt(m.round(variance + epsilon))))
    shape = [side if axis in {each % x.ndim for each in over} else 1 for axis, side in enumerate(x.shape)]
    if gamma is not None:
        y = m.round(y * gamma.reshape(shape))
    return y if beta is None else y + beta.reshape(shape)


def softmax(m: Exact, x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over an axis, without overflow."""
    exponentials = m.round(torch.exp(m.round(x - x.amax(axis, keepdim=True))))
    return exponentials / m.sum(exponentials, [axis], keep=True)


HANDLERS: Mapping[str, Callable[..., Any]] = {"layer_norm": layer_norm, "softmax": softmax}
