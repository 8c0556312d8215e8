"""Normalisation layers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Float32
from runtimes.mil.operations.activation import per_channel
from runtimes.mil.values import Handlers, axes_of


def batch_norm(
    m: Float32,
    x: Tensor,
    *,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, each per channel of x (B, C, *sides)."""
    scale = m.round(torch.rsqrt(m.round(variance + epsilon)))
    scale = scale if gamma is None else m.round(gamma * scale)
    y = m.round(m.round(x - per_channel(mean, x)) * per_channel(scale, x))
    return y if beta is None else y + per_channel(beta, x)


def layer_norm(
    m: Float32,
    x: Tensor,
    *,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over any axes; gamma and beta have these axes."""
    over = axes_of(axes, x.ndim)
    shape = [side if axis in over else 1 for axis, side in enumerate(x.shape)]
    y = _standardised(m, x, over, epsilon)
    y = y if gamma is None else m.round(y * gamma.reshape(shape))
    return y if beta is None else y + beta.reshape(shape)


def instance_norm(
    m: Float32, x: Tensor, *, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """Normalise x (B, C, *sides) over its sides as ``layer_norm`` does, with gamma and beta per channel."""
    y = _standardised(m, x, list(range(2, x.ndim)), epsilon)
    y = y if gamma is None else m.round(y * per_channel(gamma, x))
    return y if beta is None else y + per_channel(beta, x)


def _standardised(m: Float32, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = m.round(x - m.mean(x, axes, keep=True))
    variance = m.mean(m.round(centred * centred), axes, keep=True)
    return m.round(centred * m.round(torch.rsqrt(m.round(variance + epsilon))))


def l2_norm(m: Float32, x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(sum(x^2) + epsilon) over the last three axes."""
    squares = m.round(m.sum(m.round(x * x), [-3, -2, -1], keep=True))
    return x / m.round(torch.sqrt(m.round(squares + epsilon)))


def local_response_norm(
    m: Float32, x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha / size sum(x^2))^beta; the sum is over ``size`` channels around each channel of x (B, C, H, W).

    Raises:
        NotImplementedError: ``size`` is even, or x is not of rank 4: the channels of the sum are not specified.
    """
    if size % 2 == 0 or x.ndim != 4:
        raise NotImplementedError(f"a size of {size} and rank {x.ndim}")
    squares = m.round(x * x).movedim(1, -1)  # (B, H, W, C)
    around = F.pad(squares, (size // 2, size // 2)).unfold(-1, size, 1)  # (B, H, W, C, size)
    sums = m.sum(around, [-1], keep=False).movedim(-1, 1)
    return x / m.round(torch.pow(m.round(k + m.round(alpha / size * sums)), beta))


HANDLERS: Handlers = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
}
