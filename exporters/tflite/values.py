"""A graph's values and weights as tensors of a TFLite file that is written tensor by tensor.

A value is in integers where it has a grid, and in float32 otherwise; it is there in the other kind too once something
takes it so, behind one QUANTIZE or DEQUANTIZE. A map of few channels goes by rows as well, (B, H, 1, W * C): XNNPACK
works pixel by pixel where it pads one, or adds a constant to its channels.
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
from exporters.tflite.writer import ModelWriter, Quantised

_ROWS = "rows"
"""Begins the name of a value that goes by rows: what reads a file by the graph's names passes it over."""

_PIXELS = Quantised(np.ones(1, np.float32))


@dataclass(frozen=True)
class Form:
    """In which form a value is taken: in integers or float32, as a map or by rows."""

    integer: bool
    rows: bool = False


class Values:
    """A graph on its way into a file.

    Args:
        graph: With its grids and encodings.
        image: Shape of its input, (B, 3, H, W).
        integers: Kinds of operations that compute in integers where what they take and give has grids.

    Attributes:
        shapes: Of its values, channels-last.
        writer: Of the file.
    """

    def __init__(self, graph: Graph, image: Shape, integers: Collection[str]) -> None:
        self.writer = ModelWriter()
        self.shapes = {name: laid_out(shape) for name, shape in infer_shapes(graph, image).items()}
        self._graph = graph
        self._integers = integers
        self._grids: Mapping[str, QuantParams] = graph.qparams
        self._tensors: dict[tuple[str, Form], int] = {}

    # --- what the graph says

    def clip(self, node: Node) -> Node | None:
        """The ReLU that a convolution computes, too."""
        user = self._graph.sole_consumer(node.name) if node.op == "conv" else None
        return user if user is not None and user.op == "relu" else None

    def is_clip(self, node: Node) -> bool:
        """Whether a convolution computes it, too."""
        producer = self._graph.producer(node.inputs[0])
        return producer is not None and self.clip(producer) is node

    def is_integer(self, node: Node) -> bool:
        """Whether an operation computes in integers: all that it takes and gives has a grid, and its weights codes."""
        taken = node.inputs[:1] if node.op == "unflatten" else node.inputs
        quantised_values = {*taken, *(self.clip(node) or node).outputs} <= self._grids.keys()
        encoded = all(name in node.encodings for name in node.weights if name != "bias" or node.op not in WEIGHTED)
        return node.op in self._integers and quantised_values and encoded and not node.is_floating

    def grid(self, node: Node, value: str) -> QuantParams | None:
        """Of a value that an operation takes or gives; None where it computes in float32."""
        return self._grids[value] if self.is_integer(node) else None

    # --- values

    def open(self, name: str, pixels: bool) -> int:
        """The tensor of the input: float32, or pixels in uint8."""
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
        """The tensor of a value in a form."""
        if (value, form) not in self._tensors:
            converted, reshaped = Form(not form.integer, form.rows), Form(form.integer, not form.rows)
            if (value, converted) not in self._tensors:
                self.take(value, reshaped)
            self._convert(value, converted if (value, converted) in self._tensors else reshaped, form)
        return self._tensors[value, form]

    def _convert(self, value: str, taken: Form, given: Form) -> None:
        source, shape = self._tensors[value, taken], self.shapes[value]
        grid = self._grids[value] if given.integer else None
        word = ("map", "rows")[given.rows] if taken.rows != given.rows else ("dequantize", "quantize")[given.integer]
        is_same = given.rows or word == "dequantize"  # the value is known by what is converted
        name = f"{_ROWS if given.rows else word}/{value}" if is_same else f"{value}/{word}"
        target = self.new(name, _by_rows(shape) if given.rows else shape, grid)
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
        """Tensors for what an operation gives, or the ReLU that it computes, too."""
        clip = self.clip(node)
        values = clip.outputs if clip else node.outputs
        form = Form(self.is_integer(node), rows)
        for value in values:
            shape = _by_rows(self.shapes[value]) if rows else self.shapes[value]
            user = self._graph.sole_consumer(value)
            name = f"{value};{node.name}" if clip else f"{user.name};{value}" if rows and user else value
            self._keep(value, form, self.new(name, shape, self.grid(node, value)))
        return [self._tensors[value, form] for value in values]

    def new(self, name: str, shape: Sequence[int], grid: QuantParams | None) -> int:
        """A tensor in a grid's codes, or in float32."""
        if grid is None:
            return self.writer.tensor(name, shape, np.float32)
        quantised = Quantised(np.array([grid.scale], np.float32), zero_point(grid))
        return self.writer.tensor(name, shape, dtype_of(grid), quantised)

    def reshape(self, name: str, source: int, target: int) -> None:
        """Put one tensor into the shape of another."""
        shape = self.writer.shape(target)
        constant = self.writer.integers(f"{name}/shape", shape)
        self.writer.operator("RESHAPE", [source, constant], [target], 1, "Reshape", newShape=list(shape))

    def _keep(self, value: str, form: Form, tensor: int) -> int:
        self._tensors[value, form] = tensor
        return tensor

    # --- weights

    def kernel(self, node: Node, layout: Callable[[Any], Any], axis: int) -> tuple[int, npt.NDArray[np.float32]]:
        """The tensor of a kernel, and the scale of each output channel, (O,), along an axis; of float32 ones."""
        name, encoding = f"{node.name}/kernel", node.encodings.get("kernel")
        if encoding is None:
            kernel = layout(node.weights["kernel"])
            scale = np.ones(len(node.weights["kernel"]), np.float32)
            return self.writer.tensor(name, kernel.shape, np.float32, data=kernel), scale
        assert isinstance(encoding, AffineQuantised)
        codes, scale = layout(encoding.codes), encoding.scale.reshape(-1).astype(np.float32)
        return self.writer.tensor(name, codes.shape, np.int8, Quantised(scale, 0, axis), codes), scale

    def bias(self, node: Node, scale: npt.NDArray[np.float32]) -> int:
        """The tensor of a bias, zeros where there is none, in steps of what a product of two codes stands for."""
        name, bias = f"{node.name}/bias", node.weights.get("bias", np.zeros(len(node.weights["kernel"])))
        grid = self.grid(node, node.inputs[0])
        if grid is None:
            return self.writer.tensor(name, bias.shape, np.float32, data=bias)
        step = np.float32(grid.scale) * scale
        dtype = np.int32 if dtype_of(grid) is np.int8 else np.int64
        return self.writer.tensor(name, bias.shape, dtype, Quantised(step), np.rint(bias / step))

    def vector(self, node: Node, weight: str, repeats: int = 1) -> int:
        """The tensor of a factor or an offset for each channel, or for each of a row's."""
        name, array = f"{node.name}/{weight}", np.tile(node.weights[weight], repeats)
        if not self.is_integer(node):
            return self.writer.tensor(name, array.shape, np.float32, data=array)
        encoding = node.encodings[weight]
        assert isinstance(encoding, AffineQuantised)
        quantised = Quantised(encoding.scale.astype(np.float32))
        return self.writer.tensor(name, array.shape, np.int8, quantised, np.tile(encoding.codes, repeats))


def laid_out(shape: Shape) -> tuple[int, ...]:
    """Channels-last, of rank 4 unless it is a vector: tokens and states (B, C, L) are (B, 1, L, C)."""
    batch, channels, *sides = (int(axis) for axis in shape)
    return (batch, *([1] * (2 - len(sides)) if sides else []), *sides, channels)


def dtype_of(grid: QuantParams) -> type[np.signedinteger[Any]]:
    """In which a file stores codes."""
    return np.int8 if grid.most - grid.least < 1 << 8 else np.int16


def zero_point(grid: QuantParams) -> int:
    """As a file has it: int8 begins with -128 where our codes of 8 bits begin with 0."""
    return grid.zero_point - (128 if dtype_of(grid) is np.int8 else 0)


def _by_rows(shape: Sequence[int]) -> tuple[int, ...]:
    batch, height, width, channels = shape
    return batch, height, 1, width * channels
