"""Comparisons, arithmetic and matrix products of ONNX on tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value, tensor

Operand = Tensor | float | int | bool


def elementwise(function: Callable[..., Tensor]) -> Operation:
    """An operation on the elements of one or more tensors; a single number stays a number."""

    def apply(node: OnnxNode, *values: Value) -> Tensor:
        like = max((value for value in values if isinstance(value, Tensor)), key=lambda value: value.ndim)
        return function(*(_operand(value, like) for value in values))

    return apply


def _operand(value: Value, like: Tensor) -> Operand:
    """An operand; a number that does not add an axis to the result stays a number."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= like.ndim:
        return value.item()
    return tensor(value, like)


def _where(node: OnnxNode, condition: Value, x: Value, y: Value) -> Tensor:
    floats = [value for value in (x, y) if isinstance(value, Tensor) and value.is_floating_point()]
    one, other = (tensor(value, *floats[:1]) for value in (x, y))
    return torch.where(tensor(condition), one, other)


def _divide(x: Operand, y: Operand) -> Tensor:
    """Integers are divided towards zero."""
    whole = not any(
        isinstance(each, float) or (isinstance(each, Tensor) and each.is_floating_point()) for each in (x, y)
    )
    return torch.div(x, y, rounding_mode="trunc") if whole else operator.truediv(x, y)


def _minimum(x: Operand, y: Operand) -> Tensor:
    return torch.minimum(*_both(x, y))


def _maximum(x: Operand, y: Operand) -> Tensor:
    return torch.maximum(*_both(x, y))


def _both(x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    like = next(each for each in (x, y) if isinstance(each, Tensor))
    one, other = (each if isinstance(each, Tensor) else like.new_tensor(each) for each in (x, y))
    return one, other


def _gemm(node: OnnxNode, a: Tensor, b: Tensor, c: Value = None) -> Tensor:
    a = a.T if node.integer("transA", 0) else a
    b = b.T if node.integer("transB", 0) else b
    product = _times(node.number("alpha", 1.0), a @ b)
    return product if c is None else product + _times(node.number("beta", 1.0), tensor(c, product))


def _times(factor: float, x: Tensor) -> Tensor:
    return x if factor == 1 else factor * x


LOGICAL: dict[str, Operation] = {
    "Equal": elementwise(lambda x, y: x == y),
    "Greater": elementwise(lambda x, y: x > y),
    "GreaterOrEqual": elementwise(lambda x, y: x >= y),
    "Less": elementwise(lambda x, y: x < y),
    "LessOrEqual": elementwise(lambda x, y: x <= y),
    "And": elementwise(torch.logical_and),
    "Or": elementwise(torch.logical_or),
    "Not": elementwise(torch.logical_not),
    "Where": _where,
}


ARITHMETIC: dict[str, Operation] = {
    "Add": elementwise(lambda x, y: x + y),
    "Sub": elementwise(lambda x, y: x - y),
    "Mul": elementwise(lambda x, y: x * y),
    "Div": elementwise(_divide),
    "Pow": elementwise(lambda x, y: x**y),
    "Neg": elementwise(torch.neg),
    "Abs": elementwise(torch.abs),
    "Exp": elementwise(torch.exp),
    "Log": elementwise(torch.log),
    "Sqrt": elementwise(torch.sqrt),
    "Reciprocal": elementwise(torch.reciprocal),
    "Erf": elementwise(torch.erf),
    "Sin": elementwise(torch.sin),
    "Cos": elementwise(torch.cos),
    "Floor": elementwise(torch.floor),
    "Ceil": elementwise(torch.ceil),
    "Round": elementwise(torch.round),
    "Sign": elementwise(torch.sign),
    "Min": elementwise(lambda *xs: reduce(_minimum, xs)),
    "Max": elementwise(lambda *xs: reduce(_maximum, xs)),
    "Sum": elementwise(lambda *xs: reduce(operator.add, xs)),
    "Mean": elementwise(lambda *xs: reduce(operator.add, xs) / len(xs)),
    "MatMul": elementwise(torch.matmul),
    "Gemm": _gemm,
    "Einsum": lambda node, *xs: torch.einsum(node.text("equation", ""), *map(tensor, xs)),
}
