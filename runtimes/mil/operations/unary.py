"""Elementwise operations on one value."""

from __future__ import annotations

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import DTYPES, Handlers, lookup


def cast(m: Float32, x: Tensor, dtype: str) -> Tensor:
    """Cast to a type by its name in MIL (``fp16``, ``int32`` ...); floats are truncated to integers."""
    return x.to(lookup(DTYPES, dtype.replace("fp", "float"), "the type"))


def inverse(m: Float32, x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return 1 / m.round(x + epsilon)


def log(m: Float32, x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """Natural logarithm log(x + epsilon)."""
    return torch.log(m.round(x + epsilon))


def rsqrt(m: Float32, x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(m.round(x + epsilon))


HANDLERS: Handlers = {
    "abs": lambda m, x: x.abs(),
    "acos": lambda m, x: torch.acos(x),
    "asin": lambda m, x: torch.asin(x),
    "atan": lambda m, x: torch.atan(x),
    "atanh": lambda m, x: torch.atanh(x),
    "cast": cast,
    "ceil": lambda m, x: torch.ceil(x),
    "clip": lambda m, x, alpha, beta: x.clamp(alpha, beta),
    "cos": lambda m, x: torch.cos(x),
    "cosh": lambda m, x: torch.cosh(x),
    "erf": lambda m, x: torch.erf(x),
    "exp": lambda m, x: torch.exp(x),
    "exp2": lambda m, x: torch.exp2(x).to(x.dtype),
    "floor": lambda m, x: torch.floor(x),
    "identity": lambda m, x: x,
    "inverse": inverse,
    "log": log,
    "logical_not": lambda m, x: torch.logical_not(x),
    "round": lambda m, x: torch.round(x),
    "rsqrt": rsqrt,
    "sign": lambda m, x: torch.sign(x),
    "sin": lambda m, x: torch.sin(x),
    "sinh": lambda m, x: torch.sinh(x),
    "sqrt": lambda m, x: torch.sqrt(x),
    "square": lambda m, x: x * x,
    "tan": lambda m, x: torch.tan(x),
    "tanh": lambda m, x: torch.tanh(x),
    "threshold": lambda m, x, alpha: x.clamp_min(alpha),
}
