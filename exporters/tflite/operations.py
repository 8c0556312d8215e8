"""Handlers shared by integers and float32, and handlers that write an operation as several float32 operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evim_deploy.graph.ir import Node
from exporters.tflite.values import Values

Handler = Callable[[Values, Node], None]


def binary(values: Values, type_: str, inputs: Sequence[int], output: int) -> None:
    """Write an elementwise operation on two tensors."""
    values.writer.operator(type_, inputs, [output], 2, type_.capitalize())


def pointwise(type_: str) -> Handler:
    """Return the handler of an elementwise operation on two values."""
    return lambda values, node: binary(values, type_, values.inputs(node), *values.outputs(node))


def unary(type_: str, version: int = 1, options: str = "", **fields: Any) -> Handler:
    """Return the handler of an operation with one TFLite equivalent."""

    def handler(values: Values, node: Node) -> None:
        inputs = values.inputs(node)
        values.writer.operator(type_, inputs, values.outputs(node), version, options, **fields)

    return handler


def reduce(values: Values, type_: str, x: int, axes: Sequence[int], output: int, name: str) -> None:
    """Write a reduction; it keeps the axes if its output has them."""
    keeps = len(values.writer.shape(output)) == len(values.writer.shape(x))
    inputs = [x, values.writer.integers(f"{name}/axes", axes)]
    values.writer.operator(type_, inputs, [output], 2, "Reducer", keepDims=keeps)


def reducing(type_: str, *axes: int) -> Handler:
    """Return the handler of a reduction."""

    def handler(values: Values, node: Node) -> None:
        (x,), (output,) = values.inputs(node), values.outputs(node)
        reduce(values, type_, x, axes, output, node.name)

    return handler


def layer_norm(values: Values, node: Node) -> None:
    """(x - mean) / sqrt(variance + eps) over the last axis."""
    (x,), (output,) = values.inputs(node), values.outputs(node)
    shape = values.shapes[node.name]
    names = [f"{node.name}/{word}" for word in ("mean", "variance", "shifted", "deviation")]
    mean, variance, shifted, deviation = (values.new(name, (*shape[:-1], 1), None) for name in names)
    centred, square = (values.new(f"{node.name}/{word}", shape, None) for word in ("centred", "square"))
    reduce(values, "MEAN", x, (len(shape) - 1,), mean, names[0])
    binary(values, "SUB", [x, mean], centred)
    binary(values, "MUL", [centred, centred], square)
    reduce(values, "MEAN", square, (len(shape) - 1,), variance, names[1])
    binary(values, "ADD", [variance, _number(values, f"{node.name}/eps", node.eps())], shifted)
    values.writer.operator("RSQRT", [shifted], [deviation])
    binary(values, "MUL", [centred, deviation], output)


def softmax_tokens(values: Values, node: Node) -> None:
    """exp(x - max) over its sum, along the tokens."""
    (x,), (output,) = values.inputs(node), values.outputs(node)
    shape = values.shapes[node.name]
    names = [f"{node.name}/{word}" for word in ("max", "sum")]
    largest, total = (values.new(name, (*shape[:2], 1, shape[3]), None) for name in names)
    below, exponential = (values.new(f"{node.name}/{word}", shape, None) for word in ("below", "exp"))
    reduce(values, "REDUCE_MAX", x, (2,), largest, names[0])
    binary(values, "SUB", [x, largest], below)
    values.writer.operator("EXP", [below], [exponential])
    reduce(values, "SUM", exponential, (2,), total, names[1])
    binary(values, "DIV", [exponential, total], output)


def silu(values: Values, node: Node) -> None:
    """x * sigmoid(x)."""
    (x,), (output,) = values.inputs(node), values.outputs(node)
    gate = values.new(f"{node.name}/sigmoid", values.shapes[node.name], None)
    values.writer.operator("LOGISTIC", [x], [gate])
    binary(values, "MUL", [x, gate], output)


def power(values: Values, node: Node) -> None:
    """(x + eps) ^ exponent."""
    (x,), (output,) = values.inputs(node), values.outputs(node)
    shifted = values.new(f"{node.name}/shifted", values.shapes[node.name], None)
    binary(values, "ADD", [x, _number(values, f"{node.name}/eps", node.eps())], shifted)
    exponent = _number(values, f"{node.name}/exponent", node.real("exponent"))
    values.writer.operator("POW", [shifted, exponent], [output], 1, "Pow")


def _number(values: Values, name: str, number: float) -> int:
    return values.writer.tensor(name, (1,), np.float32, data=np.array([number]))
