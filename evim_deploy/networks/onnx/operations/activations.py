"""Activations of ONNX on tensors."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose

import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value, lengths, tensor
from evim_deploy.networks.onnx.operations.elementwise import elementwise

_SINGLE_AXIS_SOFTMAX = 13  # earlier opsets normalise over all following axes together


_SELU = 1.6732632423543772, 1.0507009873554805
"""alpha and gamma of the paper, which are ONNX's and torch's."""


def _clip(node: OnnxNode, x: Tensor, minimum: Value = None, maximum: Value = None) -> Tensor:
    limits = [None if value is None else node.scalar(value) for value in (minimum, maximum)]
    return x if limits == [None, None] else x.clamp(*limits)


def _prelu(node: OnnxNode, x: Tensor, slope: Value) -> Tensor:
    return torch.where(x < 0, x * tensor(slope, x), x)


def _gelu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.text("approximate", "none"))


def _selu(node: OnnxNode, x: Tensor) -> Tensor:
    alpha, gamma = node.number("alpha", _SELU[0]), node.number("gamma", _SELU[1])
    is_torch = isclose(alpha, _SELU[0], rel_tol=1e-6) and isclose(gamma, _SELU[1], rel_tol=1e-6)
    return F.selu(x) if is_torch else gamma * F.elu(x, alpha)


def _elu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.elu(x, node.number("alpha", 1.0))


def _hard_sigmoid(node: OnnxNode, x: Tensor) -> Tensor:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    is_torch = abs(alpha - 1 / 6) < 1e-6 and beta == 0.5
    return F.hardsigmoid(x) if is_torch else (alpha * x + beta).clamp(0, 1)


def _softmax(function: Callable[..., Tensor]) -> Operation:
    """A softmax over one axis; before opset 13 over the axis and all that follow, together."""

    def apply(node: OnnxNode, x: Tensor) -> Tensor:
        if node.opset >= _SINGLE_AXIS_SOFTMAX:
            return function(x, node.integer("axis", -1))
        axis = node.integer("axis", 1) % x.ndim
        return function(x, axis) if axis == x.ndim - 1 else function(x.flatten(axis), -1).reshape(lengths(x))

    return apply


ACTIVATIONS: dict[str, Operation] = {
    "Relu": elementwise(F.relu),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.number("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Sigmoid": elementwise(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": elementwise(F.hardswish),
    "Mish": elementwise(F.mish),
    "Tanh": elementwise(torch.tanh),
    "Softplus": elementwise(F.softplus),
    "Softsign": elementwise(F.softsign),
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
}
