"""Write a quantised graph as TFLite, tensor by tensor, each with the quantisation parameters of its value.

A converter would choose its own quantisation parameters and leave unsupported operations in floating point. Here every
tensor has the graph's parameters, so the file computes the same integers as the simulated graph. Where a quantised
kernel meets a float32 value, the engine quantises that value at run time.

Integer arithmetic of the operations: https://ai.google.dev/edge/litert/models/quantization_spec
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.graph.shapes import Shape
from evim_deploy.quantise.placement import VIEWS
from exporters.tflite.lookup_table import add_table
from exporters.tflite.operations import (
    Handler,
    binary,
    layer_norm,
    pointwise,
    power,
    reduce,
    reducing,
    silu,
    softmax_tokens,
    unary,
)
from exporters.tflite.values import Form, Values, dtype_of
from exporters.tflite.writer import TensorQuantisation

_RELU = 1  # of ActivationFunctionType
_SAME, _VALID = 0, 1  # of Padding
_NARROW = 16  # channels; a map with fewer is stored by rows where a vector is added to each pixel


def write(graph: Graph, image: Shape, integers: Collection[str], pixels: bool) -> Any:
    """Return a graph as TFLite's objects; each tensor has the name of its value.

    Args:
        graph: The quantised graph.
        image: Shape of the input, (B, 3, H, W).
        integers: Operations that compute in integers if their inputs and outputs are quantised.
        pixels: Whether the input is uint8 RGB pixels 0-255 instead of float32.
    """
    values = Values(graph, image, {*integers, *VIEWS})
    taken = values.open(graph.input_name, pixels)
    answers = set(graph.outputs.values())
    for node in graph.nodes:
        if not values.is_clip(node):
            HANDLERS[node.op](values, node)
        for value in answers.intersection(node.outputs):
            values.take(
                value, Form(integer=False)
            )  # now, because readers of the file identify the value by this tensor
    given = [values.take(value, Form(integer=False)) for value in graph.outputs.values()]
    return values.writer.close([taken], given)


def _conv(values: Values, node: Node) -> None:
    stride, padding, depthwise = node.integer("stride"), node.integer("padding"), node.is_depthwise
    same = stride == 1 and padding == node.weights["kernel"].shape[-1] // 2
    x = _padded(values, node, padding) if padding and not same else values.inputs(node)[0]
    order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
    kernel, scale = values.kernel(node, lambda array: array.transpose(order), 3 if depthwise else 0)
    inputs = [x, kernel, values.bias(node, scale)]
    given = values.outputs(node)
    options = {
        "padding": _SAME if same else _VALID,
        "strideH": stride,
        "strideW": stride,
        "fusedActivationFunction": _RELU if values.clip(node) else 0,
    }
    if depthwise:
        values.writer.operator("DEPTHWISE_CONV_2D", inputs, given, 3, "DepthwiseConv2D", depthMultiplier=1, **options)
    else:
        values.writer.operator("CONV_2D", inputs, given, 3, "Conv2D", **options)


def _padded(values: Values, node: Node, padding: int) -> int:
    """Pad a map with zeros; after its last row and column only as far as the convolution reaches."""
    (value,) = node.inputs
    batch, height, width, channels = values.shapes[value]
    side, stride = node.weights["kernel"].shape[-1], node.integer("stride")
    below, right = (
        max(0, (given - 1) * stride + side - padding - taken)
        for given, taken in zip(values.shapes[(values.clip(node) or node).name][1:3], (height, width), strict=True)
    )
    name, qparams = f"{node.name}/padded", values.qparams(node, value)
    shape = (batch, padding + height + below, padding + width + right, channels)
    rows = values.new(f"{name}/rows", (*shape[:2], 1, shape[2] * channels), qparams)
    amounts = [[0, 0], [padding, below], [0, 0], [padding * channels, right * channels]]
    inputs = [
        values.take(value, Form(qparams is not None, rows=True)),
        values.writer.integers(f"{name}/amounts", amounts),
    ]
    values.writer.operator("PAD", inputs, [rows], 2, "Pad")
    given = values.new(name, shape, qparams)
    values.reshape(name, rows, given)
    return given


def _dense(values: Values, node: Node) -> None:
    inputs = values.inputs(node)
    kernel, scale = values.kernel(node, np.asarray, 0)
    inputs += [kernel, values.bias(node, scale)]
    keeps = len(values.shapes[node.name]) > 2
    values.writer.operator("FULLY_CONNECTED", inputs, values.outputs(node), 9, "FullyConnected", keepNumDims=keeps)


def _with_vector(type_: str, weight: str) -> Handler:
    def handler(values: Values, node: Node) -> None:
        shape, size = values.shapes[node.name], node.weights[weight].size
        rows = len(shape) == 4 and 1 < size < _NARROW
        x = values.take(node.inputs[0], Form(values.is_integer(node), rows))
        vector = values.vector(node, weight, shape[2] if rows else 1)
        binary(values, type_, [x, vector], *values.outputs(node, rows))

    return handler


def _view(values: Values, node: Node) -> None:
    x = values.take(node.inputs[0], Form(values.is_integer(node)))
    values.reshape(node.name, x, *values.outputs(node))


def _sum_tokens(values: Values, node: Node) -> None:
    (x,), (given,) = values.inputs(node), values.outputs(node)
    if node.attributes.get("keep"):
        reduce(values, "SUM", x, (2,), given, node.name)
        return
    batch, _, states, _ = values.shapes[node.name]
    total = values.new(f"{node.name}/sum", (batch, 1, 1, states), values.qparams(node, node.name))
    reduce(values, "SUM", x, (2,), total, node.name)
    values.reshape(node.name, total, given)  # (B, 1, N, 1)


def _split(values: Values, node: Node) -> None:
    axis = values.writer.tensor(f"{node.name}/axis", (), np.int32, data=np.array(3))
    count = len(node.outputs)
    values.writer.operator("SPLIT", [axis, *values.inputs(node)], values.outputs(node), 2, "Split", numSplits=count)


def _state_update(values: Values, node: Node) -> None:
    tokens, weights = node.inputs
    _product(values, node, _transposed(values, node, weights), _transposed(values, node, tokens))  # (N, L) (D, L)^T


def _state_readout(values: Values, node: Node) -> None:
    states, weights = node.inputs
    weights_ = values.take(weights, Form(values.is_integer(node)))
    _product(values, node, weights_, _transposed(values, node, states))  # (L, N) (D, N)^T


def _transposed(values: Values, node: Node, value: str) -> int:
    """Transpose tokens or states to (B, 1, C, L)."""
    batch, _, length, channels = values.shapes[value]
    name = f"{node.name}/{value}"
    given = values.new(name, (batch, 1, channels, length), values.qparams(node, value))
    inputs = [values.take(value, Form(values.is_integer(node))), values.writer.integers(f"{name}/order", (0, 1, 3, 2))]
    values.writer.operator("TRANSPOSE", inputs, [given], 2, "Transpose")
    return given


def _product(values: Values, node: Node, first: int, second: int) -> None:
    """Multiply two factors over their last axes: another layout of the second takes XNNPACK four times as long."""
    values.writer.operator("BATCH_MATMUL", [first, second], values.outputs(node), 4, "BatchMatMul", adjY=True)


def _exp(values: Values, node: Node) -> None:
    """Write exp; in integers as ELU(x) + 1, because ELU(x) = e^x - 1 for x up to 0."""
    (x,), (given,) = values.inputs(node), values.outputs(node)
    qparams = values.qparams(node, node.name)
    if qparams is None:
        values.writer.operator("EXP", [x], [given])
        return
    less = QuantParams(qparams.scale, qparams.qmax, qparams.qmin, qparams.qmax)
    elu = values.new(f"{node.name}/elu", values.shapes[node.name], less)
    one = TensorQuantisation(np.array([1 / 127], np.float32))
    values.writer.operator("ELU", [x], [elu])
    constant = values.writer.tensor(f"{node.name}/one", (1,), np.int8, one, np.array([127]))
    binary(values, "ADD", [elu, constant], given)


def _power(values: Values, node: Node) -> None:
    """Write power; in 8-bit integers as a look-up table."""
    (value,) = node.inputs
    source, target = values.qparams(node, value), values.qparams(node, node.name)
    if source is not None and target is not None and dtype_of(source) is np.int8:
        add_table(values, node, source, target)
    else:
        power(values, node)


HANDLERS: dict[str, Handler] = {
    "conv": _conv,
    "pointwise_conv": _dense,
    "linear": _dense,
    "layer_norm": layer_norm,
    "scale": _with_vector("MUL", "scale"),
    "shift": _with_vector("ADD", "bias"),
    "add": pointwise("ADD"),
    "subtract": pointwise("SUB"),
    "multiply": pointwise("MUL"),
    "relu": unary("RELU"),
    "sigmoid": unary("LOGISTIC", 2),
    "silu": silu,
    "exp": _exp,
    "power": _power,
    "softmax_tokens": softmax_tokens,
    "softmax_channels": unary("SOFTMAX", 2, "Softmax", beta=1.0),
    "split": _split,
    "flatten": _view,
    "unflatten": _view,
    "state_update": _state_update,
    "state_readout": _state_readout,
    "sum_tokens": _sum_tokens,
    "max_tokens": reducing("REDUCE_MAX", 2),
    "mean_channels": reducing("MEAN", 3),
    "mean": reducing("MEAN", 1, 2),
    "concat": unary("CONCATENATION", 1, "Concatenation", axis=1),
}

REFUSED = {"batch_norm": "rewrites fold it into a convolution before export"}
"""The other operations of a graph, each with the reason why no handler exists."""
