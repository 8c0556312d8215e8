"""Activation functions."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """Reshape a vector (C) to (C, 1, ...), so that it broadcasts with x (B, C, *sides)."""
    return parameter.reshape(-1, *(1,) * (x.ndim - 2))


def gelu(m: Float32, x: Tensor, mode: str = "EXACT") -> Tensor:
    """x Phi(x), Phi the normal distribution's cumulative function or one of two approximations to it."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * m.round(torch.sigmoid(m.round(1.702 * x)))
    if mode == "EXACT":
        bell = m.round(torch.erf(m.round(x / sqrt(2))))
    elif mode == "TANH_APPROXIMATION":
        cube = m.round(m.round(x * x) * x)
        bell = m.round(torch.tanh(m.round(sqrt(2 / pi) * m.round(x + m.round(0.044715 * cube)))))
    else:
        raise NotImplementedError(f"mode {mode!r}")
    return m.round(0.5 * x) * m.round(1 + bell)


def softplus(m: Float32, x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    return x.clamp_min(0) + m.round(torch.log1p(m.round(torch.exp(-x.abs()))))


def softplus_parametric(m: Float32, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha log(1 + exp(beta x)), alpha and beta per channel."""
    return per_channel(alpha, x) * m.round(softplus(m, m.round(per_channel(beta, x) * x)))


def softmax(m: Float32, x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over an axis, without overflow."""
    exponentials = m.round(torch.exp(m.round(x - x.amax(axis, keepdim=True))))
    return exponentials / m.sum(exponentials, [axis], keep=True)


HANDLERS: Handlers = {
    "clamped_relu": lambda m, x, alpha, beta: torch.where(x >= 0, x, m.round(alpha * x)).clamp_max(beta),
    "elu": lambda m, x, alpha: torch.where(x > 0, x, alpha * m.round(torch.expm1(x))),
    "gelu": gelu,
    "leaky_relu": lambda m, x, alpha: torch.where(x >= 0, x, alpha * x),
    "linear_activation": lambda m, x, alpha, beta: m.round(alpha * x) + beta,
    "prelu": lambda m, x, alpha: torch.where(x > 0, x, per_channel(alpha, x) * x),
    "relu": lambda m, x: F.relu(x),
    "relu6": lambda m, x: x.clamp(0, 6),
    "scaled_tanh": lambda m, x, alpha, beta: alpha * m.round(torch.tanh(m.round(beta * x))),
    "sigmoid": lambda m, x: torch.sigmoid(x),
    "sigmoid_hard": lambda m, x, alpha, beta: (m.round(alpha * x) + beta).clamp(0, 1),
    "silu": lambda m, x: x * m.round(torch.sigmoid(x)),
    "softmax": softmax,
    "softplus": softplus,
    "softplus_parametric": softplus_parametric,
    "softsign": lambda m, x: x / m.round(1 + x.abs()),
    "thresholded_relu": lambda m, x, alpha: torch.where(x >= alpha, x, 0),
}
