"""ONNX: standard operations alone, channels-first, so that any engine opens the file.

The only Reshapes are the views between a map and its tokens. ``write`` multiplies by a transposed
factor, which Einsum says without a Transpose in the graph. An fp16 file takes and gives fp32, and
computes the channel LayerNorm, whose squares can leave fp16's range, in fp32.

Operators: https://onnx.ai/onnx/operators/ (opset 18).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from evim_deploy import __version__
from evim_deploy.about import About
from evim_deploy.artifact import Contract, Target, TensorSpec
from evim_deploy.graph import Graph, Node
from evim_deploy.shapes import Shape, infer_shapes

OPSET = 18
IR_VERSION = 9  # what opset 18 came with: older runtimes refuse a newer one

_FLOATS = {"fp32": (TensorProto.FLOAT, np.float32), "fp16": (TensorProto.FLOAT16, np.float16)}


def build(graph: Graph, target: Target, path: Path) -> Contract:
    """Write a graph as an ONNX file that passes the checker; resolution and batch may be dynamic."""
    image: Shape = (
        "batch" if target.batch is None else target.batch,
        3,
        "height" if target.height is None else target.height,
        "width" if target.width is None else target.width,
    )
    shapes = infer_shapes(graph, image)
    contract = _contract(graph, target, shapes)
    model = _Emitter(graph, target.precision, shapes).model(contract)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return contract


def annotate(path: Path, metadata: Mapping[str, str], about: About) -> None:
    """Put metadata into ``metadata_props`` and the description into ``doc_string``."""
    model = onnx.load(path)
    helper.set_model_props(model, dict(metadata))
    model.doc_string = about.description
    onnx.save(model, path)


def _contract(graph: Graph, target: Target, shapes: Mapping[str, Shape]) -> Contract:
    return Contract(
        (TensorSpec(graph.input_name, shapes[graph.input_name], "float32", "NCHW", target.input_range),),
        tuple(
            TensorSpec(name, shapes[value], "float32", "NCHW"[: len(shapes[value])], target.output_range)
            for name, value in graph.outputs.items()
        ),
    )


class _Emitter:
    """Writes one graph, operation by operation, under the graph's own names."""

    def __init__(self, graph: Graph, precision: str, shapes: Mapping[str, Shape]) -> None:
        self.graph = graph
        self.float_type, self.float_dtype = _FLOATS[precision]
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    @property
    def half(self) -> bool:
        return bool(self.float_type == TensorProto.FLOAT16)

    def model(self, contract: Contract) -> Any:
        """The whole file; in fp32 an output's value goes by the output's name, in fp16 a cast gives it."""
        names = {value: f"{value}/half" if self.half else name for name, value in self.graph.outputs.items()}
        if self.half:
            names[self.graph.input_name] = self.cast(self.graph.input_name, self.float_type, "fp16")
        for node in self.graph.nodes:
            inputs = [names.get(value, value) for value in node.inputs]
            _HANDLERS[node.op](self, node, inputs, names.get(node.name, node.name))
        if self.half:
            for name, value in self.graph.outputs.items():
                self.emit("Cast", [names[value]], name, to=TensorProto.FLOAT)
        body = helper.make_graph(
            self.nodes,
            "efficientvim",
            [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape) for spec in contract.inputs],
            [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape) for spec in contract.outputs],
            list(self.initializers.values()),
        )
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="evim-deploy",
            producer_version=__version__,
        )

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: str, to: int, suffix: str) -> str:
        return self.emit("Cast", [value], f"{value}/{suffix}", to=to)

    def weight(self, node: Node, name: str, shape: tuple[int, ...] | None = None) -> str:
        array = node.weights[name]
        array = array if shape is None else array.reshape(shape)
        return self.constant(f"{node.name}.{name}", array.astype(self.float_dtype))

    def per_channel(self, node: Node, name: str) -> str:
        """A weight (C) that broadcasts over everything after the channels, (C, 1, ...)."""
        return self.weight(node, name, (-1,) + (1,) * (len(self.shapes[node.inputs[0]]) - 2))

    def integers(self, *values: int) -> str:
        """A shape, axes or sections; equal ones are stored once."""
        return self.constant("integers." + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def constant(self, name: str, array: Any) -> str:
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name


def _conv(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    weights = [e.weight(node, name) for name in ("kernel", "bias") if name in node.weights]
    stride, padding = node.integer("stride"), node.integer("padding")
    side = node.weights["kernel"].shape[-1]
    e.emit(
        "Conv",
        [*inputs, *weights],
        output,
        kernel_shape=[side, side],
        strides=[stride, stride],
        pads=[padding] * 4,
        group=node.integer("groups"),
    )


def _project(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    kernel = e.weight(node, "kernel", (*node.weights["kernel"].shape, 1))
    e.emit("Conv", [*inputs, kernel], output, kernel_shape=[1])


def _linear(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Gemm", [*inputs, e.weight(node, "kernel"), e.weight(node, "bias")], output, transB=1)


def _layer_norm(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    channels = e.integers(1)
    x = e.cast(inputs[0], TensorProto.FLOAT, "fp32") if e.half else inputs[0]
    mean = e.emit("ReduceMean", [x, channels], f"{output}/mean")
    centred = e.emit("Sub", [x, mean], f"{output}/centred")
    square = e.emit("Mul", [centred, centred], f"{output}/square")
    variance = e.emit("ReduceMean", [square, channels], f"{output}/variance")
    eps = e.constant(f"{output}/eps", np.float32(node.eps()))
    deviation = e.emit("Sqrt", [e.emit("Add", [variance, eps], f"{output}/variance.eps")], f"{output}/deviation")
    if e.half:
        normalised = e.emit("Div", [centred, deviation], f"{output}/normalised")
        e.emit("Cast", [normalised], output, to=e.float_type)
    else:
        e.emit("Div", [centred, deviation], output)


def _split(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    sections = e.integers(*node.sections())
    e.nodes.append(helper.make_node("Split", [*inputs, sections], list(node.outputs), name=output, axis=1))


def _flatten(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Reshape", [*inputs, e.integers(0, 0, -1)], output)  # 0 keeps an axis


def _unflatten(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    tokens, like = inputs
    height, width = e.shapes[node.name][2:]
    if isinstance(height, int) and isinstance(width, int):
        shape = e.integers(0, 0, height, width)
    else:
        sides = e.emit("Shape", [like], f"{output}/sides", start=2)
        shape = e.emit("Concat", [e.integers(0, 0), sides], f"{output}/shape", axis=0)
    e.emit("Reshape", [tokens, shape], output)


def _sum_tokens(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    total = e.emit("ReduceSum", [*inputs, e.integers(2)], f"{output}/total", keepdims=0)
    e.emit("Unsqueeze", [total, e.integers(1)], output)


def _mean(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    axes = e.integers(*range(2, len(e.shapes[node.inputs[0]])))
    e.emit("ReduceMean", [*inputs, axes], output, keepdims=int(bool(node.attributes["keep"])))


def _silu(e: _Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Mul", [*inputs, e.emit("Sigmoid", inputs, f"{output}/sigmoid")], output)


_HANDLERS: dict[str, Callable[[_Emitter, Node, list[str], str], object]] = {
    "conv": _conv,
    "project": _project,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "scale": lambda e, node, inputs, output: e.emit("Mul", [*inputs, e.per_channel(node, "factor")], output),
    "shift": lambda e, node, inputs, output: e.emit("Add", [*inputs, e.per_channel(node, "offset")], output),
    "add": lambda e, node, inputs, output: e.emit("Add", inputs, output),
    "multiply": lambda e, node, inputs, output: e.emit("Mul", inputs, output),
    "relu": lambda e, node, inputs, output: e.emit("Relu", inputs, output),
    "sigmoid": lambda e, node, inputs, output: e.emit("Sigmoid", inputs, output),
    "silu": _silu,
    "softmax_tokens": lambda e, node, inputs, output: e.emit("Softmax", inputs, output, axis=2),
    "softmax_channels": lambda e, node, inputs, output: e.emit("Softmax", inputs, output, axis=1),
    "split": _split,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "write": lambda e, node, inputs, output: e.emit("Einsum", inputs, output, equation="bdl,bnl->bdn"),
    "read": lambda e, node, inputs, output: e.emit("MatMul", inputs, output),
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "concat": lambda e, node, inputs, output: e.emit("Concat", inputs, output, axis=1),
}
