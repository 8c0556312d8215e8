"""ONNX: standard operations alone, channels-first, so that any engine opens the file.

The only Reshapes are the views between a map and its tokens. ``write`` multiplies by a transposed
factor, which Einsum says without a Transpose in the graph. A mean over channels is a product with a row of
1 / D: ONNX Runtime's ReduceMean over an axis in the middle takes several times as long. An fp16 file takes and
gives fp32 unless asked, and computes the channel LayerNorm, whose squares can leave fp16's range, in fp32.

Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isqrt, prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper

from evim_deploy import __version__
from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.formats import onnx_writer
from evim_deploy.formats.onnx_names import CHANNELS_LAST, SCALE, UNSIGNED
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams
from evim_deploy.graph.shapes import Axis, Shape, infer_shapes
from evim_deploy.quantise.apply import VIEWS
from evim_deploy.quantise.schemes import scheme
from exporters.onnx import quantised
from exporters.onnx.opsets import OPSETS, USUAL_OPSET

MOST_TERMS = 4096
"""Of a sum over an image that is made in one go; a longer one is made of the sums of its rows.

ONNX Runtime adds term after term in float32: of a white image of 4096x4096 M4's logits were off by 6e-5 of their range,
and are by 1e-5.
"""

_FLOATS = {"fp32": (TensorProto.FLOAT, np.float32), "fp16": (TensorProto.FLOAT16, np.float16)}


def build(graph: Graph, target: Target, path: Path) -> Signature:
    """Write a graph as an ONNX file that passes the checker; resolution and batch may be dynamic."""
    image: Shape = (
        "batch" if target.batch is None else target.batch,
        3,
        "height" if target.height is None else target.height,
        "width" if target.width is None else target.width,
    )
    shapes = infer_shapes(graph, image)
    contract = _contract(graph, target, shapes)
    emitter = Emitter(graph, target, shapes)
    onnx_writer.save(emitter.model(contract), emitter.weights, path)
    onnx.checker.check_model(path, full_check=True)
    return contract


def annotate(path: Path, metadata: Mapping[str, str], facts: ArtifactInfo) -> None:
    """Put metadata into ``metadata_props`` and the description into ``doc_string``."""
    model = onnx.load(path, load_external_data=False)
    helper.set_model_props(model, dict(metadata))
    model.doc_string = describe_artifact(facts).description
    onnx.save(model, path)


def _contract(graph: Graph, target: Target, shapes: Mapping[str, Shape]) -> Signature:
    dtype = "float16" if target.half_io else "float32"
    return Signature(
        (
            TensorSpec(
                name=graph.input_name,
                shape=shapes[graph.input_name],
                dtype=dtype,
                layout="NCHW",
                range=target.input_range,
            ),
        ),
        tuple(
            TensorSpec(
                name=name,
                shape=shapes[value],
                dtype=dtype,
                layout="NCHW"[: len(shapes[value])],
                range=target.output_range,
            )
            for name, value in graph.outputs.items()
        ),
    )


Handler = Callable[["Emitter", Node, list[str], str], object]


class Emitter:
    """Writes one graph, operation by operation, under the graph's own names."""

    def __init__(self, graph: Graph, target: Target, shapes: Mapping[str, Shape]) -> None:
        found = scheme("onnx", target.precision)
        self.graph = graph
        self.float_type, self.float_dtype = _FLOATS[found.floats if found else target.precision]
        self.plain = {**_HANDLERS, **quantised.STATES_LAST} if found else _HANDLERS
        self.handlers = {**self.plain, **quantised.DYNAMIC} if found and found.is_dynamic else self.plain
        self.opset_version = target.opset or USUAL_OPSET
        self.opset = OPSETS[self.opset_version]
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.states = quantised.states(graph) if found else frozenset()
        self.names: dict[str, str] = {value: f"{value}{CHANNELS_LAST}" for value in self.states}

    @property
    def half(self) -> bool:
        return bool(self.float_type == TensorProto.FLOAT16)

    def model(self, contract: Signature) -> Any:
        """The whole file but the weights; an output's value goes by the output's name, or a cast gives it."""
        io_type = helper.np_dtype_to_tensor_dtype(np.dtype(contract.inputs[0].dtype))
        is_cast = io_type != self.float_type
        names, image = self.names, self.graph.input_name
        names.update({value: f"{value}/half" if is_cast else name for name, value in self.graph.outputs.items()})
        if is_cast:
            names[image] = self.cast(image, self.float_type, "fp16")
        if image in self.graph.qparams:
            names[image] = self.round(names.get(image, image), self.graph.qparams[image], f"{image}/rounded")
        for node in self.graph.nodes:
            self.operation(node, [names.get(value, value) for value in node.inputs], names.get(node.name, node.name))
        if is_cast:
            for name, value in self.graph.outputs.items():
                self.emit("Cast", [names[value]], name, to=io_type)
        body = helper.make_graph(
            self.nodes,
            "efficientvim",
            [helper.make_tensor_value_info(spec.name, io_type, spec.shape) for spec in contract.inputs],
            [helper.make_tensor_value_info(spec.name, io_type, spec.shape) for spec in contract.outputs],
        )
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", self.opset_version)],
            ir_version=self.opset.ir_version,
            producer_name="evim-deploy",
            producer_version=__version__,
        )

    def operation(self, node: Node, inputs: list[str], output: str) -> None:
        """An operation, and the grid of what it gives; a view of what is rounded is rounded."""
        grid = None if node.op in VIEWS else self.graph.qparams.get(node.name)
        self.handlers[node.op](self, node, inputs, f"{output}/exact" if grid else output)
        if grid:
            self.round(f"{output}/exact", grid, output)

    def round(self, value: str, grid: QuantParams, output: str) -> str:
        """A value on a grid, as QuantizeLinear and DequantizeLinear say it: engines fuse both with what is around."""
        grid_of = [
            self.constant(f"{output}/scale", np.float32(grid.scale)),
            self.constant(f"{output}/zero_point", np.uint8(grid.zero_point)),
        ]
        codes = self.emit("QuantizeLinear", [value, *grid_of], f"{output}/codes")
        return self.emit("DequantizeLinear", [codes, *grid_of], output)

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: str, to: int, suffix: str) -> str:
        return self.emit("Cast", [value], f"{value}/{suffix}", to=to)

    def weight(self, node: Node, name: str, shape: tuple[int, ...] | None = None) -> str:
        array = node.weights[name]
        array = array if shape is None else array.reshape(shape)
        return self.constant(f"{node.name}.{name}", array.astype(self.float_dtype))

    def decoded(self, node: Node, name: str) -> str:
        """A weight (O, ...), decoded from its codes where it has them."""
        if name not in node.encodings:
            return self.weight(node, name)
        return self.emit("DequantizeLinear", self.codes(node, name), f"{node.name}/{name}", axis=0)

    def codes(
        self,
        node: Node,
        weight: str = "kernel",
        transposed: bool = False,
        scales: tuple[int, ...] = (-1,),
        unsigned: bool = False,
    ) -> list[str]:
        """Names of a weight's codes (O, ...) or (I, O), int8 (a bias: int32) or uint8, and of its scales (O, ...)."""
        encoding = cast("AffineQuantised", node.encodings[weight])
        name = f"{node.name}.{weight}"
        codes: Any = (encoding.codes + np.int16(UNSIGNED)).astype(np.uint8) if unsigned else encoding.codes
        return [
            self.constant(name, codes.T if transposed else codes),
            self.constant(f"{name}{SCALE}", encoding.scale.reshape(scales).astype(self.float_dtype)),
        ]

    def window(self, node: Node) -> dict[str, Any]:
        """A convolution's attributes."""
        stride, padding = node.integer("stride"), node.integer("padding")
        side = node.weights["kernel"].shape[-1]
        return {
            "kernel_shape": [side, side],
            "strides": [stride, stride],
            "pads": [padding] * 4,
            "group": node.integer("groups"),
        }

    def per_channel(self, node: Node, name: str) -> str:
        """A weight (C) that broadcasts over everything but the channels."""
        behind = 0 if node.inputs[0] in self.states else len(self.shapes[node.inputs[0]]) - 2
        return self.weight(node, name, (-1,) + (1,) * behind)

    def channels(self, node: Node) -> int:
        """Which axis of what an operation takes they are."""
        return 2 if node.inputs[0] in self.states else 1

    def sides(self, value: str, output: str) -> str:
        """Height and width of a map, as an engine finds them."""
        if self.opset.shape_has_start:
            return self.emit("Shape", [value], f"{output}/sides", start=2)
        shape = self.emit("Shape", [value], f"{output}/axes")
        return self.emit("Slice", [shape, self.integers(2), self.integers(4)], f"{output}/sides")

    def mean(self, value: str, axes: Sequence[int], keep: bool, output: str) -> str:
        if self.opset.axes_are_inputs:
            return self.emit("ReduceMean", [value, self.integers(*axes)], output, keepdims=int(keep))
        return self.emit("ReduceMean", [value], output, axes=list(axes), keepdims=int(keep))

    def sum_of_tokens(self, value: str, tokens: Axis, output: str) -> str:
        """Of tokens (B, N, L) their sum (B, N), made in two steps where they are very many."""
        if isinstance(tokens, int) and _is_long((tokens,)):
            rows = next(count for count in range(isqrt(tokens), 0, -1) if tokens % count == 0)
            value = self.emit("Reshape", [value, self.integers(0, 0, rows, tokens // rows)], f"{output}/rows")
            value = self.emit("ReduceSum", [value, self.integers(3)], f"{output}/sums", keepdims=0)  # (B, N, rows)
        return self.emit("ReduceSum", [value, self.integers(2)], f"{output}/total", keepdims=0)

    def to_tokens(self, value: str, output: str) -> str:
        """A map's view (B, C, L)."""
        return self.emit("Reshape", [value, self.integers(0, 0, -1)], output)  # 0 keeps an axis

    def to_map(self, tokens: str, like: str, shape: Shape, output: str) -> str:
        """The view of tokens as a map of the shape, with the sides of another where they are not known."""
        height, width = shape[2:]
        if isinstance(height, int) and isinstance(width, int):
            target = self.integers(0, 0, height, width)
        else:
            target = self.emit("Concat", [self.integers(0, 0), self.sides(like, output)], f"{output}/shape", axis=0)
        return self.emit("Reshape", [tokens, target], output)

    def integers(self, *values: int) -> str:
        """A shape, axes or sections; equal ones are stored once."""
        return self.constant("integers." + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def constant(self, name: str, array: Any) -> str:
        self.weights[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name


def _conv(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    weights = [e.decoded(node, name) for name in ("kernel", "bias") if name in node.weights]
    e.emit("Conv", [*inputs, *weights], output, **e.window(node))


def _project(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    kernel = e.weight(node, "kernel", (*node.weights["kernel"].shape, 1))
    e.emit("Conv", [*inputs, kernel], output, kernel_shape=[1])


def _linear(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Gemm", [*inputs, e.weight(node, "kernel"), e.weight(node, "bias")], output, transB=1)


def _layer_norm(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    shape = e.shapes[node.inputs[0]]
    if node.inputs[0] in e.states:
        quantised.layer_norm_of_states(e, node, inputs, output)
        return
    x = e.cast(inputs[0], TensorProto.FLOAT, "fp32") if e.half else inputs[0]
    is_map = len(shape) == 4
    tokens = e.to_tokens(x, f"{output}/tokens") if is_map else x
    channels = cast("int", shape[1])
    row = e.constant(f"mean_of.{channels}", np.full((1, channels), 1 / channels, np.float32))
    mean = e.emit("MatMul", [row, tokens], f"{output}/mean")  # (B, 1, L)
    centred = e.emit("Sub", [tokens, mean], f"{output}/centred")
    square = e.emit("Mul", [centred, centred], f"{output}/square")
    variance = e.emit("MatMul", [row, square], f"{output}/variance")
    eps = e.constant(f"{output}/eps", np.float32(node.eps()))
    deviation = e.emit("Sqrt", [e.emit("Add", [variance, eps], f"{output}/variance.eps")], f"{output}/deviation")
    normalised = f"{output}/normalised" if is_map else output
    if e.half:
        wide = e.emit("Div", [centred, deviation], f"{output}/wide")
        e.emit("Cast", [wide], normalised, to=e.float_type)
    else:
        e.emit("Div", [centred, deviation], normalised)
    if is_map:
        e.to_map(normalised, inputs[0], shape, output)


def _split(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    sections = e.integers(*node.sections())
    outputs = [e.names.get(value, value) for value in node.outputs]
    e.nodes.append(helper.make_node("Split", [*inputs, sections], outputs, name=output, axis=e.channels(node)))


def _unflatten(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    tokens, like = inputs
    e.to_map(tokens, like, e.shapes[node.name], output)


def _softmax_tokens(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    """Of very many tokens it is divided by its own sum, made in two steps."""
    tokens = e.shapes[node.inputs[0]][2]
    if not _is_long((tokens,)):
        e.emit("Softmax", inputs, output, axis=2)
        return
    weights = e.emit("Softmax", inputs, f"{output}/softmax", axis=2)
    total = e.sum_of_tokens(weights, tokens, output)  # (B, N)
    e.emit("Div", [weights, e.emit("Unsqueeze", [total, e.integers(2)], f"{output}/divisor")], output)


def _is_long(axes: Sequence[Axis]) -> bool:
    """Whether a sum over axes is of very many terms; of open ones nobody knows."""
    lengths = [axis for axis in axes if isinstance(axis, int)]
    return len(lengths) == len(axes) and prod(lengths) > MOST_TERMS


def _sum_tokens(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    total = e.sum_of_tokens(inputs[0], e.shapes[node.inputs[0]][2], output)
    e.emit("Unsqueeze", [total, e.integers(1)], output)


def _mean(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    shape = e.shapes[node.inputs[0]]
    keep = bool(node.attributes["keep"])
    x, axes = inputs[0], (1,) if node.inputs[0] in e.states else tuple(range(2, len(shape)))
    if _is_long(shape[2:]):
        x, axes = e.mean(x, axes[-1:], True, f"{output}/rows"), axes[:-1]  # (B, C, H, 1)
        axes = axes if keep else (*axes, 3)
    e.mean(x, axes, keep, output)


def _silu(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Mul", [*inputs, e.emit("Sigmoid", inputs, f"{output}/sigmoid")], output)


_HANDLERS: dict[str, Handler] = {
    "conv": _conv,
    "pointwise_conv": _project,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "scale": lambda e, node, inputs, output: e.emit("Mul", [*inputs, e.per_channel(node, "scale")], output),
    "shift": lambda e, node, inputs, output: e.emit("Add", [*inputs, e.per_channel(node, "bias")], output),
    "add": lambda e, node, inputs, output: e.emit("Add", inputs, output),
    "multiply": lambda e, node, inputs, output: e.emit("Mul", inputs, output),
    "relu": lambda e, node, inputs, output: e.emit("Relu", inputs, output),
    "sigmoid": lambda e, node, inputs, output: e.emit("Sigmoid", inputs, output),
    "silu": _silu,
    "softmax_tokens": _softmax_tokens,
    "softmax_channels": lambda e, node, inputs, output: e.emit("Softmax", inputs, output, axis=1),
    "split": _split,
    "flatten": lambda e, node, inputs, output: e.to_tokens(inputs[0], output),
    "unflatten": _unflatten,
    "state_update": lambda e, node, inputs, output: e.emit("Einsum", inputs, output, equation="bdl,bnl->bdn"),
    "state_readout": lambda e, node, inputs, output: e.emit("MatMul", inputs, output),
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "concat": lambda e, node, inputs, output: e.emit("Concat", inputs, output, axis=1),
}
