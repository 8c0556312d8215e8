"""A graph's values and weights as the tensors of a TFLite file.

A quantised value is stored in integers, any other in float32. If a consumer needs the other type, one QUANTIZE or
DEQUANTIZE adds it. A map of few channels is also stored by rows, (B, H, 1, W * C), because XNNPACK pads a map, and adds
a constant to its channels, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.graph.quantised import AffineQuantised, QuantParams
from evim_deploy.graph.shapes import Shape
from evim_deploy.quantise.schemes import WEIGHTED
from exporters.tflite.writer import ModelWriter, TensorQuantisation

_ROWS = "rows"
"""Prefix of the name of a value stored by rows; a reader that looks for the graph's names skips it."""

_PIXELS = TensorQuantisation(np.ones(1, np.float32))


@dataclass(frozen=True)
class Form:
    """The form of a tensor: integers or float32, a map or rows."""

    integer: bool
    rows: bool = False


class Values:
    """The tensors of a graph that is being written.

    Args:
        graph: The quantised graph.
        image: Shape of its input, (B, 3, H, W).
        integers: Operations that compute in integers if their inputs and outputs are quantised.

    Attributes:
        shapes: Channels-last shapes of the values, by name.
        writer: The writer of the file.
    """

    def __init__(self, graph: Graph, image: Shape, integers: Collection[str]) -> None:
        self.writer = ModelWriter()
        self.shapes = {name: laid_out(shape) for name, shape in infer_shapes(graph, image).items()}
        self._graph = graph
        self._integers = integers
        self._qparams: Mapping[str, QuantParams] = graph.qparams
        self._tensors: dict[tuple[str, Form], int] = {}

    # --- the graph

    def clip(self, node: Node) -> Node | None:
        """Return the ReLU that a convolution also computes, if there is one."""
        user = self._graph.sole_consumer(node.name) if node.op == "conv" else None
        return user if user is not None and user.op == "relu" else None

    def is_clip(self, node: Node) -> bool:
        """Return whether a convolution also computes this ReLU."""
        producer = self._graph.producer(node.inputs[0])
        return producer is not None and self.clip(producer) is node

    def is_integer(self, node: Node) -> bool:
        """Return whether an operation computes in integers: its inputs, outputs and weights are quantised."""
        taken = node.inputs[:1] if node.op == "unflatten" else node.inputs
        quantised_values = {*taken, *(self.clip(node) or node).outputs} <= self._qparams.keys()
        encoded = all(name in node.encodings for name in node.weights if name != "bias" or node.op not in WEIGHTED)
        return node.op in self._integers and quantised_values and encoded and not node.is_floating

    def qparams(self, node: Node, value: str) -> QuantParams | None:
        """Return the quantisation parameters of an operation's input or output; None if it computes in float32."""
        return self._qparams[value] if self.is_integer(node) else None

    # --- values

    def open(self, name: str, pixels: bool) -> int:
        """Create the tensor of the input: float32, or uint8 pixels."""
        shape = self.shapes[name]
        if not pixels:
            return self._keep(name, Form(integer=False), self.writer.tensor(name, shape, np.float32))
        taken = self.writer.tensor(name, shape, np.uint8, _PIXELS)
        rows = self.writer.tensor(f"{_ROWS}/{name}", _by_rows(shape), np.uint8, _PIXELS)
        self.reshape(f"{_ROWS}/{name}", taken, rows)
        given = self._keep(name, Form(False, rows=True), self.new(f"{_ROWS}/{name}/dequantize", _by_rows(shape), None))
        self.writer.operator("DEQUANTIZE", [rows], [given], 2, "Dequantize")
        return taken

    def take(self, value: str, form: Form) -> int:
        """Return the tensor of a value in a form, converting it if needed."""
        if (value, form) not in self._tensors:
            converted, reshaped = Form(not form.integer, form.rows), Form(form.integer, not form.rows)
            if (value, converted) not in self._tensors:
                self.take(value, reshaped)
            self._convert(value, converted if (value, converted) in self._tensors else reshaped, form)
        return self._tensors[value, form]

    def _convert(self, value: str, taken: Form, given: Form) -> None:
        source, shape = self._tensors[value, taken], self.shapes[value]
        qparams = self._qparams[value] if given.integer else None
        word = ("map", "rows")[given.rows] if taken.rows != given.rows else ("dequantize", "quantize")[given.integer]
        is_same = given.rows or word == "dequantize"  # readers identify the value by the tensor that is converted
        name = f"{_ROWS if given.rows else word}/{value}" if is_same else f"{value}/{word}"
        target = self.new(name, _by_rows(shape) if given.rows else shape, qparams)
        self._keep(value, given, target)
        if taken.rows != given.rows:
            self.reshape(name, source, target)
        elif given.integer:
            self.writer.operator("QUANTIZE", [source], [target], 1, "Quantize")
        else:
            self.writer.operator("DEQUANTIZE", [source], [target], 2, "Dequantize")

    def inputs(self, node: Node) -> list[int]:
        return [self.take(value, Form(self.is_integer(node))) for value in node.inputs]

    def outputs(self, node: Node, rows: bool = False) -> list[int]:
        """Create the tensors of an operation's outputs, or of the ReLU that it also computes."""
        clip = self.clip(node)
        values = clip.outputs if clip else node.outputs
        form = Form(self.is_integer(node), rows)
        for value in values:
            shape = _by_rows(self.shapes[value]) if rows else self.shapes[value]
            user = self._graph.sole_consumer(value)
            name = f"{value};{node.name}" if clip else f"{user.name};{value}" if rows and user else value
            self._keep(value, form, self.new(name, shape, self.qparams(node, value)))
        return [self._tensors[value, form] for value in values]

    def new(self, name: str, shape: Sequence[int], qparams: QuantParams | None) -> int:
        """Create a tensor, quantised or in float32."""
        if qparams is None:
            return self.writer.tensor(name, shape, np.float32)
        quantised = TensorQuantisation(np.array([qparams.scale], np.float32), zero_point(qparams))
        return self.writer.tensor(name, shape, dtype_of(qparams), quantised)

    def reshape(self, name: str, source: int, target: int) -> None:
        """Reshape one tensor into another."""
        shape = self.writer.shape(target)
        constant = self.writer.integers(f"{name}/shape", shape)
        self.writer.operator("RESHAPE", [source, constant], [target], 1, "Reshape", newShape=list(shape))

    def _keep(self, value: str, form: Form, tensor: int) -> int:
        self._tensors[value, form] = tensor
        return tensor

    # --- weights

    def kernel(self, node: Node, layout: Callable[[Any], Any], axis: int) -> tuple[int, npt.NDArray[np.float32]]:
        """Create the tensor of a kernel.

        Return it and the scale of each output channel, (O,), which is 1 for float32.
        """
        name, encoding = f"{node.name}/kernel", node.encodings.get("kernel")
        if encoding is None:
            kernel = layout(node.weights["kernel"])
            scale = np.ones(len(node.weights["kernel"]), np.float32)
            return self.writer.tensor(name, kernel.shape, np.float32, data=kernel), scale
        assert isinstance(encoding, AffineQuantised)
        quantised, scale = layout(encoding.values), encoding.scale.reshape(-1).astype(np.float32)
        return self.writer.tensor(name, quantised.shape, np.int8, TensorQuantisation(scale, 0, axis), quantised), scale

    def bias(self, node: Node, scale: npt.NDArray[np.float32]) -> int:
        """Create the tensor of a bias, or of zeros, in units of the product of the input's and the kernel's scales."""
        name, bias = f"{node.name}/bias", node.weights.get("bias", np.zeros(len(node.weights["kernel"])))
        qparams = self.qparams(node, node.inputs[0])
        if qparams is None:
            return self.writer.tensor(name, bias.shape, np.float32, data=bias)
        step = np.float32(qparams.scale) * scale
        dtype = np.int32 if dtype_of(qparams) is np.int8 else np.int64
        return self.writer.tensor(name, bias.shape, dtype, TensorQuantisation(step), np.rint(bias / step))

    def vector(self, node: Node, weight: str, repeats: int = 1) -> int:
        """Create the tensor of a vector (C), repeated for each pixel of a row."""
        name, array = f"{node.name}/{weight}", np.tile(node.weights[weight], repeats)
        if not self.is_integer(node):
            return self.writer.tensor(name, array.shape, np.float32, data=array)
        encoding = node.encodings[weight]
        assert isinstance(encoding, AffineQuantised)
        quantised = TensorQuantisation(encoding.scale.astype(np.float32))
        return self.writer.tensor(name, array.shape, np.int8, quantised, np.tile(encoding.values, repeats))


def laid_out(shape: Shape) -> tuple[int, ...]:
    """Return the channels-last shape, rank 4 except for vectors: tokens and states (B, C, L) become (B, 1, L, C)."""
    batch, channels, *sides = (int(axis) for axis in shape)
    return (batch, *([1] * (2 - len(sides)) if sides else []), *sides, channels)


def dtype_of(qparams: QuantParams) -> type[np.signedinteger[Any]]:
    """Return the integer type of quantised values."""
    return np.int8 if qparams.qmax - qparams.qmin < 1 << 8 else np.int16


def zero_point(qparams: QuantParams) -> int:
    """Return the zero point in a file: int8 begins at -128, our 8-bit integers begin at 0."""
    return qparams.zero_point - (128 if dtype_of(qparams) is np.int8 else 0)


def _by_rows(shape: Sequence[int]) -> tuple[int, ...]:
    batch, height, width, channels = shape
    return batch, height, 1, width * channels
