"""TFLite in integers: our graph written tensor by tensor, each with the grid that was found for its value.

A converter finds grids of its own and hands what its table does not have to floating point. Here every tensor's codes
are those of :attr:`evim_deploy.graph.Graph.grids`, so the file computes what the simulated graph does. A value without
a grid is float32; where an operation takes the other kind, one QUANTIZE or DEQUANTIZE stands before it.

What operations do with integers: https://ai.google.dev/edge/litert/models/quantization_spec
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.codes import Grid, Linear
from evim_deploy.evaluate import HANDLERS, round_to
from evim_deploy.graph import Graph, Node
from evim_deploy.shapes import Shape, infer_shapes
from exporters.tflite_table import HALF, STEPS, table
from exporters.tflite_writer import ModelWriter, Quantised

_NO_ACTIVATION, _RELU = 0, 1  # of ActivationFunctionType
_SAME, _VALID = 0, 1  # of Padding
_NARROW = 16
"""Channels of a map that a constant is added to as one row: XNNPACK starts anew for each pixel's channels otherwise."""


def write(graph: Graph, image: tuple[int, int, int, int], pixels: bool) -> Any:
    """A graph as TFLite's objects; its tensors have the names of its values.

    Args:
        graph: With its grids and encodings.
        image: Shape of the input, (B, 3, H, W).
        pixels: Whether it takes pixels 0-255, which are then uint8.
    """
    network = _Network(graph, image)
    taken = network.open(pixels)
    for node in graph.nodes:
        if not network.is_fused(node):
            _HANDLERS[node.op](network, node)
    given = [network.take(value, integer=False) for value in graph.outputs.values()]
    return network.writer.close([taken], given)


class _Network:
    """A graph on its way into a file, its values by name."""

    def __init__(self, graph: Graph, image: tuple[int, int, int, int]) -> None:
        self.graph = graph
        self.writer = ModelWriter()
        self.shapes = {name: laid_out(shape) for name, shape in infer_shapes(graph, image).items()}
        self._tensors: dict[tuple[str, bool], int] = {}

    def open(self, pixels: bool) -> int:
        """The tensor of the input."""
        name = self.graph.input_name
        if not pixels:
            taken = self._tensors[name, False] = self.new(name, self.shapes[name], None)
            return taken
        taken = self.writer.tensor(name, self.shapes[name], np.uint8, Quantised(np.ones(1, np.float32)))
        pixels_ = self._tensors[name, False] = self.new(f"{name}/dequantize", self.shapes[name], None)
        self.writer.operator("DEQUANTIZE", [taken], [pixels_], 2, "Dequantize")
        return taken

    def is_fused(self, node: Node) -> bool:
        """Whether an operation before this one computes it, too."""
        producer = self.graph.producer(node.inputs[0])
        return producer is not None and self.clip(producer) is node

    def clip(self, node: Node) -> Node | None:
        """The ReLU that a convolution computes, too."""
        user = self.graph.only_user(node.name) if node.op == "conv" else None
        return user if user is not None and user.op == "relu" else None

    def is_integer(self, node: Node) -> bool:
        """Whether an operation computes in integers: all that it takes and gives has a grid."""
        values = {*node.inputs, *(self.clip(node) or node).outputs}
        has_codes = all(name in node.encodings for name in node.weights if name != "bias")
        return not node.is_floating and has_codes and values <= self.graph.grids.keys()

    def take(self, value: str, integer: bool) -> int:
        """The tensor of a value, in integers or in float32."""
        if (value, integer) not in self._tensors:
            other, suffix = self._tensors[value, not integer], "quantize" if integer else "dequantize"
            grid = self.graph.grids[value] if integer else None
            self._tensors[value, integer] = self.new(f"{value}/{suffix}", self.shapes[value], grid)
            type_, version = ("QUANTIZE", 1) if integer else ("DEQUANTIZE", 2)
            self.writer.operator(type_, [other], [self._tensors[value, integer]], version, type_.capitalize())
        return self._tensors[value, integer]

    def inputs(self, node: Node) -> list[int]:
        return [self.take(value, self.is_integer(node)) for value in node.inputs]

    def outputs(self, node: Node) -> list[int]:
        """Tensors for what an operation gives, in what it computes with; those of the ReLU that it computes, too."""
        integer, clip = self.is_integer(node), self.clip(node)
        values = clip.outputs if clip else node.outputs
        for value in values:
            grid = self.graph.grids[value] if integer else None
            name = f"{value};{node.name}" if clip else value
            self._tensors[value, integer] = self.new(name, self.shapes[value], grid)
        return [self._tensors[value, integer] for value in values]

    def new(self, name: str, shape: Sequence[int], grid: Grid | None) -> int:
        """A tensor in a grid's codes, or in float32."""
        if grid is None:
            return self.writer.tensor(name, shape, np.float32)
        return self.writer.tensor(name, shape, dtype_of(grid), _quantised(grid))


def laid_out(shape: Shape) -> tuple[int, ...]:
    """Channels-last, of rank 4 unless it is a vector: tokens and states (B, C, L) are (B, 1, L, C)."""
    batch, channels, *sides = (int(axis) for axis in shape)
    return (batch, *([1] * (2 - len(sides)) if sides else []), *sides, channels)


def dtype_of(grid: Grid) -> type[np.signedinteger[Any]]:
    """In which a file stores codes."""
    return np.int8 if grid.most - grid.least < 1 << 8 else np.int16


def zero_point_of(grid: Grid) -> int:
    """As a file has it: int8 reaches from -128 where our codes of 8 bits begin with 0."""
    return grid.zero_point - (128 if dtype_of(grid) is np.int8 else 0)


def _quantised(grid: Grid) -> Quantised:
    return Quantised(np.array([grid.scale], np.float32), zero_point_of(grid))


# --- weights


def _kernel(net: _Network, node: Node, layout: Callable[[Any], Any], axis: int) -> tuple[int, npt.NDArray[np.float32]]:
    """The tensor of a kernel, and the scale of each output channel, (O,); ones where it is float32."""
    name = f"{node.name}/kernel"
    encoding = node.encodings.get("kernel")
    if encoding is None:
        kernel = layout(node.weights["kernel"])
        return net.writer.tensor(name, kernel.shape, np.float32, data=kernel), np.ones(len(node.weights["kernel"]))
    assert isinstance(encoding, Linear)
    codes, scale = layout(encoding.codes), encoding.scale.reshape(-1).astype(np.float32)
    return net.writer.tensor(name, codes.shape, np.int8, Quantised(scale, 0, axis), codes), scale


def _bias(net: _Network, node: Node, scale: npt.NDArray[np.float32]) -> int:
    """The tensor of a bias, in steps of what a product of codes stands for; zeros where there is none."""
    name, bias = f"{node.name}/bias", node.weights.get("bias", np.zeros(len(node.weights["kernel"])))
    if not net.is_integer(node):
        return net.writer.tensor(name, bias.shape, np.float32, data=bias)
    grid = net.graph.grids[node.inputs[0]]
    step = np.float32(grid.scale) * scale
    dtype = np.int32 if dtype_of(grid) is np.int8 else np.int64
    return net.writer.tensor(name, bias.shape, dtype, Quantised(step), np.rint(bias / step))


def _constant(net: _Network, node: Node, weight: str, repeats: int = 1) -> int:
    """The tensor of a factor or an offset for each channel."""
    name, array = f"{node.name}/{weight}", np.tile(node.weights[weight], repeats)
    encoding = node.encodings.get(weight)
    if encoding is None or not net.is_integer(node):
        return net.writer.tensor(name, array.shape, np.float32, data=array)
    assert isinstance(encoding, Linear)
    dtype = dtype_of(net.graph.grids[node.name])
    codes = np.tile(encoding.codes, repeats)
    return net.writer.tensor(name, codes.shape, dtype, Quantised(encoding.scale.astype(np.float32)), codes)


# --- operations


def _conv(net: _Network, node: Node) -> None:
    (x,) = net.inputs(node)
    depthwise, stride, padding = node.is_depthwise, node.integer("stride"), node.integer("padding")
    same = stride == 1 and padding == node.weights["kernel"].shape[-1] // 2
    if padding and not same:
        x = _pad(net, node, x, padding)
    layout = (lambda kernel: kernel.transpose(1, 2, 3, 0)) if depthwise else (lambda kernel: kernel.transpose(0, 2, 3, 1))
    kernel, scale = _kernel(net, node, layout, 3 if depthwise else 0)
    bias = _bias(net, node, scale)
    given = net.outputs(node)
    options = {
        "padding": _SAME if same else _VALID,
        "strideH": stride,
        "strideW": stride,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": _RELU if net.clip(node) else _NO_ACTIVATION,
    }
    if depthwise:
        net.writer.operator(
            "DEPTHWISE_CONV_2D", [x, kernel, bias], given, 3, "DepthwiseConv2D", depthMultiplier=1, **options
        )
    else:
        net.writer.operator("CONV_2D", [x, kernel, bias], given, 3, "Conv2D", **options)


def _pad(net: _Network, node: Node, x: int, padding: int) -> int:
    """Zeros around a map, as one row of (W * C) for each of its rows: XNNPACK copies each pixel by itself otherwise.

    Behind the last row and column there are only as many as the convolution reaches.
    """
    batch, height, width, channels = net.writer.shape(x)
    side, stride = node.weights["kernel"].shape[-1], node.integer("stride")
    below, right = (
        max(0, (given - 1) * stride + side - padding - taken)
        for given, taken in zip(net.shapes[node.name][1:3], (height, width), strict=True)
    )
    grid = net.graph.grids[node.inputs[0]] if net.is_integer(node) else None
    shape = (batch, height + padding + below, width + padding + right, channels)
    rows = _reshaped(net, f"{node.name}/rows", x, (batch, height, 1, width * channels), grid)
    amounts = [[0, 0], [padding, below], [0, 0], [padding * channels, right * channels]]
    padded = net.new(f"{node.name}/pad", (*shape[:2], 1, shape[2] * channels), grid)
    net.writer.operator("PAD", [rows, net.writer.integers(f"{node.name}/paddings", amounts)], [padded], 2, "Pad")
    return _reshaped(net, f"{node.name}/padded", padded, shape, grid)


def _dense(net: _Network, node: Node) -> None:
    (x,) = net.inputs(node)
    kernel, scale = _kernel(net, node, lambda kernel: kernel, 0)
    bias = _bias(net, node, scale)
    net.writer.operator(
        "FULLY_CONNECTED", [x, kernel, bias], net.outputs(node), 9, "FullyConnected", keepNumDims=len(net.writer.shape(x)) > 2
    )


def _with_constant(type_: str, weight: str) -> Callable[[_Network, Node], None]:
    def handler(net: _Network, node: Node) -> None:
        (x,), (shape, channels) = net.inputs(node), (net.shapes[node.name], net.shapes[node.name][-1])
        size = node.weights[weight].size
        if 1 < channels < _NARROW and size == channels:
            row = (*shape[:-2], 1, shape[-2] * channels)  # (B, H, 1, W * C)
            grids = [net.graph.grids[value] if net.is_integer(node) else None for value in (node.inputs[0], node.name)]
            flat = net.new(f"{node.name}/row", row, grids[0])
            given = net.new(f"{node.name}/added", row, grids[1])
            _reshape(net, f"{node.name}/row", x, flat)
            _binary(net, type_, [flat, _constant(net, node, weight, shape[-2])], given)
            _reshape(net, node.name, given, *net.outputs(node))
        else:
            _binary(net, type_, [x, _constant(net, node, weight)], *net.outputs(node))

    return handler


def _binary(net: _Network, type_: str, inputs: list[int], output: int) -> None:
    net.writer.operator(type_, inputs, [output], 2, type_.capitalize(), fusedActivationFunction=_NO_ACTIVATION)


def _pointwise(type_: str) -> Callable[[_Network, Node], None]:
    return lambda net, node: _binary(net, type_, net.inputs(node), *net.outputs(node))


def _reshape(net: _Network, name: str, x: int, given: int) -> None:
    shape = net.writer.shape(given)
    net.writer.operator("RESHAPE", [x, net.writer.integers(f"{name}/shape", shape)], [given], 1, "Reshape", newShape=list(shape))


def _reshaped(net: _Network, name: str, x: int, shape: Sequence[int], grid: Grid | None) -> int:
    given = net.new(name, shape, grid)
    _reshape(net, name, x, given)
    return given


def _view(net: _Network, node: Node) -> None:
    integer = not node.is_floating and node.inputs[0] in net.graph.grids
    x = net.take(node.inputs[0], integer)
    given = net.new(node.name, net.shapes[node.name], net.graph.grids[node.name] if integer else None)
    net._tensors[node.name, integer] = given
    _reshape(net, node.name, x, given)


def _reduce(net: _Network, type_: str, x: int, given: int, axes: Sequence[int], name: str, keep: bool = True) -> None:
    net.writer.operator(type_, [x, net.writer.integers(f"{name}/axes", axes)], [given], 2, "Reducer", keepDims=keep)


def _reducing(type_: str, *axes: int) -> Callable[[_Network, Node], None]:
    def handler(net: _Network, node: Node) -> None:
        (x,) = net.inputs(node)
        _reduce(net, type_, x, *net.outputs(node), axes, node.name)

    return handler


def _mean(net: _Network, node: Node) -> None:
    (x,) = net.inputs(node)
    _reduce(net, "MEAN", x, *net.outputs(node), (1, 2), node.name, bool(node.attributes["keep"]))


def _sum_tokens(net: _Network, node: Node) -> None:
    (x,) = net.inputs(node)
    batch, _, states, _ = net.shapes[node.name]
    total = net.new(f"{node.name}/sum", (batch, 1, 1, states), net.graph.grids[node.name] if net.is_integer(node) else None)
    _reduce(net, "SUM", x, total, (2,), node.name)
    _reshape(net, node.name, total, *net.outputs(node))  # (B, 1, N, 1)


def _split(net: _Network, node: Node) -> None:
    x = net.inputs(node)
    axis = net.writer.tensor(f"{node.name}/axis", (), np.int32, data=np.array(3, np.int32))
    net.writer.operator("SPLIT", [axis, *x], net.outputs(node), 2, "Split", numSplits=len(node.outputs))


def _transposed(net: _Network, node: Node, value: str) -> int:
    """Tokens or states with the axis of their channels before the other, (B, 1, C, L)."""
    batch, _, length, channels = net.shapes[value]
    name, integer = f"{node.name}/{value}", net.is_integer(node)
    given = net.new(name, (batch, 1, channels, length), net.graph.grids[value] if integer else None)
    order = net.writer.integers(f"{name}/order", (0, 1, 3, 2))
    net.writer.operator("TRANSPOSE", [net.take(value, integer), order], [given], 2, "Transpose")
    return given


def _product(net: _Network, node: Node, first: int, second: int) -> None:
    """Both factors with the axis that is summed last: XNNPACK takes four times as long to lay out another."""
    net.writer.operator("BATCH_MATMUL", [first, second], net.outputs(node), 4, "BatchMatMul", adjX=False, adjY=True)


def _write(net: _Network, node: Node) -> None:
    tokens, weights = node.inputs
    _product(net, node, _transposed(net, node, weights), _transposed(net, node, tokens))  # (N, L) (D, L)^T


def _read(net: _Network, node: Node) -> None:
    states, weights = node.inputs
    _product(net, node, net.take(weights, net.is_integer(node)), _transposed(net, node, states))  # (L, N) (D, N)^T


def _sigmoid(net: _Network, node: Node) -> None:
    net.writer.operator("LOGISTIC", net.inputs(node), net.outputs(node), 2)


def _exp(net: _Network, node: Node) -> None:
    """Of integers e^x - 1, which is ELU's of x up to 0, and 1 more."""
    (x,), (given,) = net.inputs(node), net.outputs(node)
    if not net.is_integer(node):
        net.writer.operator("EXP", [x], [given])
        return
    grid = net.graph.grids[node.name]
    below = Grid(grid.scale, grid.most, grid.least, grid.most)
    elu = net.new(f"{node.name}/elu", net.shapes[node.name], below)
    one = net.writer.tensor(f"{node.name}/one", (1,), np.int8, Quantised(np.array([1 / 127], np.float32)), np.array([127]))
    net.writer.operator("ELU", [x], [elu])
    _binary(net, "ADD", [elu, one], given)


def _power(net: _Network, node: Node) -> None:
    (x,), (given,) = net.inputs(node), net.outputs(node)
    source, target = net.graph.grids[node.inputs[0]], net.graph.grids[node.name]
    values = torch_codes(node, source, target)
    found = table(values, source, target)
    count, shape = len(found.heights), net.shapes[node.name]
    line = np.float32(1 / HALF) / np.float32(source.scale)
    slopes = net.writer.tensor(f"{node.name}/slopes", (count, 1, 1, 1), np.int8, Quantised(np.full(count, line, np.float32)), found.slopes)
    offsets = net.writer.tensor(f"{node.name}/offsets", (count,), np.int32, Quantised(np.full(count, line * np.float32(source.scale), np.float32)), found.offsets)
    steps = net.new(f"{node.name}/steps", (*shape[:-1], count), STEPS)
    heights = net.writer.tensor(f"{node.name}/heights", (1, 1, 1, count), np.int8, Quantised(np.float32([target.scale])), found.heights)
    base = net.writer.tensor(f"{node.name}/base", (1,), np.int32, Quantised(np.float32([target.scale * STEPS.scale])), np.array([found.base * 255]))
    options = {"padding": _VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    net.writer.operator("CONV_2D", [x, slopes, offsets], [steps], 3, "Conv2D", **options)
    net.writer.operator("CONV_2D", [steps, heights, base], [given], 3, "Conv2D", **options)


def torch_codes(node: Node, source: Grid, target: Grid) -> npt.NDArray[np.int64]:
    """What an operation of one value gives for each code, in codes, both from 0."""
    import torch

    x = torch.arange(source.least, source.most + 1, dtype=torch.float32)
    y = HANDLERS[node.op](node, {}, (x - source.zero_point) * source.scale)
    return np.asarray(round_to(target, y) / target.scale + target.zero_point).round().astype(np.int64)


def _layer_norm(net: _Network, node: Node) -> None:
    (x,), (given,) = net.inputs(node), net.outputs(node)
    shape = net.shapes[node.name]
    w, single = net.writer, (*shape[:-1], 1)
    mean, variance, shifted, deviation = (net.new(f"{node.name}/{word}", single, None) for word in ("mean", "variance", "shifted", "deviation"))
    centred, square = (net.new(f"{node.name}/{word}", shape, None) for word in ("centred", "square"))
    _reduce(net, "MEAN", x, mean, (3,), f"{node.name}/mean")
    _binary(net, "SUB", [x, mean], centred)
    _binary(net, "MUL", [centred, centred], square)
    _reduce(net, "MEAN", square, variance, (3,), f"{node.name}/variance")
    _binary(net, "ADD", [variance, w.tensor(f"{node.name}/eps", (1,), np.float32, data=np.array([node.eps()]))], shifted)
    w.operator("RSQRT", [shifted], [deviation])
    _binary(net, "MUL", [centred, deviation], given)


def _silu(net: _Network, node: Node) -> None:
    (x,), (given,) = net.inputs(node), net.outputs(node)
    gate = net.new(f"{node.name}/sigmoid", net.shapes[node.name], None)
    net.writer.operator("LOGISTIC", [x], [gate])
    _binary(net, "MUL", [x, gate], given)


_HANDLERS: dict[str, Callable[[_Network, Node], None]] = {
    "conv": _conv,
    "project": _dense,
    "linear": _dense,
    "layer_norm": _layer_norm,
    "scale": _with_constant("MUL", "factor"),
    "shift": _with_constant("ADD", "offset"),
    "add": _pointwise("ADD"),
    "subtract": _pointwise("SUB"),
    "multiply": _pointwise("MUL"),
    "relu": lambda net, node: net.writer.operator("RELU", net.inputs(node), net.outputs(node)),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "exp": _exp,
    "power": _power,
    "softmax_channels": lambda net, node: net.writer.operator("SOFTMAX", net.inputs(node), net.outputs(node), 1, "Softmax", beta=1.0),
    "split": _split,
    "flatten": _view,
    "unflatten": _view,
    "write": _write,
    "read": _read,
    "sum_tokens": _sum_tokens,
    "max_tokens": _reducing("REDUCE_MAX", 2),
    "mean_channels": _reducing("MEAN", 3),
    "mean": _mean,
    "concat": lambda net, node: net.writer.operator("CONCATENATION", net.inputs(node), net.outputs(node), 1, "Concatenation", axis=1),
}
