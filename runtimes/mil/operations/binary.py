"""Elementwise operations on two values, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runtimes.mil.arithmetic import Float32
from runtimes.mil.values import Handlers, bounded, tensor

Operand = Tensor | float | bool


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """x / y, truncated towards zero for integers."""
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def select(m: Float32, cond: Operand, a: Operand, b: Operand) -> Tensor:
    """a if cond, else b; all three broadcast."""
    condition, first, second = tensor(cond), tensor(a), tensor(b)
    bounded(torch.broadcast_shapes(condition.shape, first.shape, second.shape))
    return torch.where(condition, first, second)


def _broadcast(compute: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Make the handler of an operation on x and y."""

    def handler(m: Float32, x: Operand, y: Operand) -> Tensor:
        first, second = tensor(x), tensor(y)
        bounded(torch.broadcast_shapes(first.shape, second.shape))
        return compute(first, second)

    return handler


HANDLERS: Handlers = {
    "add": _broadcast(torch.add),
    "equal": _broadcast(torch.eq),
    "floor_div": _broadcast(torch.floor_divide),
    "greater": _broadcast(torch.gt),
    "greater_equal": _broadcast(torch.ge),
    "less": _broadcast(torch.lt),
    "less_equal": _broadcast(torch.le),
    "logical_and": _broadcast(torch.logical_and),
    "logical_or": _broadcast(torch.logical_or),
    "logical_xor": _broadcast(torch.logical_xor),
    "maximum": _broadcast(torch.maximum),
    "minimum": _broadcast(torch.minimum),
    "mod": _broadcast(torch.remainder),
    "mul": _broadcast(torch.mul),
    "not_equal": _broadcast(torch.ne),
    "pow": _broadcast(torch.pow),
    "real_div": _broadcast(real_div),
    "select": select,
    "sub": _broadcast(torch.sub),
}
