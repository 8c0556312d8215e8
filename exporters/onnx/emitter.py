"""Write a graph as an ONNX model, operation by operation, by the handlers that it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isqrt, prod
from typing import Any, cast

import numpy as np
from onnx import TensorProto, helper

from evim_deploy import __version__
from evim_deploy.artifact.signature import Signature
from evim_deploy.artifact.target import Target
from evim_deploy.formats.onnx_names import CHANNELS_LAST, SCALE, UNSIGNED
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams
from evim_deploy.graph.shapes import Axis, Shape
from evim_deploy.quantise.placement import VIEWS
from exporters.onnx.opsets import DEFAULT_OPSET, OPSETS

MOST_TERMS = 4096
"""Maximum number of terms of one sum over an image; a longer sum is a sum of the sums of its rows.

ONNX Runtime adds the terms one after the other in float32. For a white image of 4096x4096, the logits of M4 had an
error of 6e-5 of their range; with partial sums it is 1e-5.
"""

_FLOATS = {"fp32": (TensorProto.FLOAT, np.float32), "fp16": (TensorProto.FLOAT16, np.float16)}


Handler = Callable[["Emitter", Node, list[str], str], object]


class Emitter:
    """Writes one graph, operation by operation, under the graph's own names.

    Args:
        graph: The graph; its weights have the values that the file stores.
        target: What the artifact is.
        shapes: Of the graph's values.
        float_precision: Type of all values and weights that are not quantised, ``fp32`` or ``fp16``.
        handlers: By operation, the function that writes it.
        channels_last: Names of the values whose last axis is the channels.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        shapes: Mapping[str, Shape],
        *,
        float_precision: str,
        handlers: Mapping[str, Handler],
        channels_last: Collection[str] = (),
    ) -> None:
        self.graph = graph
        self.float_type, self.float_dtype = _FLOATS[float_precision]
        self.handlers = handlers
        self.opset_version = target.opset or DEFAULT_OPSET
        self.opset = OPSETS[self.opset_version]
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.states = frozenset(channels_last)
        self.names: dict[str, str] = {value: f"{value}{CHANNELS_LAST}" for value in self.states}

    @property
    def half(self) -> bool:
        return bool(self.float_type == TensorProto.FLOAT16)

    def model(self, signature: Signature) -> Any:
        """Return the model without its weights. The last value of an output has the output's name, or is cast to it."""
        io_type = helper.np_dtype_to_tensor_dtype(np.dtype(signature.inputs[0].dtype))
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
            [helper.make_tensor_value_info(spec.name, io_type, spec.shape) for spec in signature.inputs],
            [helper.make_tensor_value_info(spec.name, io_type, spec.shape) for spec in signature.outputs],
        )
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", self.opset_version)],
            ir_version=self.opset.ir_version,
            producer_name="evim-deploy",
            producer_version=__version__,
        )

    def operation(self, node: Node, inputs: list[str], output: str) -> None:
        """Write an operation and the quantisation of its output; a view of a quantised value is quantised already."""
        qparams = None if node.op in VIEWS else self.graph.qparams.get(node.name)
        self.handlers[node.op](self, node, inputs, f"{output}/exact" if qparams else output)
        if qparams:
            self.round(f"{output}/exact", qparams, output)

    def round(self, value: str, qparams: QuantParams, output: str) -> str:
        """Write QuantizeLinear and DequantizeLinear (QDQ) of a value: engines fuse both with the operations around."""
        parameters = [
            self.constant(f"{output}/scale", np.float32(qparams.scale)),
            self.constant(f"{output}/zero_point", np.uint8(qparams.zero_point)),
        ]
        quantised = self.emit("QuantizeLinear", [value, *parameters], f"{output}/codes")
        return self.emit("DequantizeLinear", [quantised, *parameters], output)

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def cast(self, value: str, to: int, suffix: str) -> str:
        return self.emit("Cast", [value], f"{value}/{suffix}", to=to)

    def weight(self, node: Node, name: str, shape: tuple[int, ...] | None = None) -> str:
        array = node.weights[name]
        array = array if shape is None else array.reshape(shape)
        return self.constant(f"{node.name}.{name}", array.astype(self.float_dtype))

    def dequantised_weight(self, node: Node, name: str) -> str:
        """Return the name of a weight (O, ...), dequantised if it is stored quantised."""
        if name not in node.encodings:
            return self.weight(node, name)
        return self.emit("DequantizeLinear", self.quantised_weight(node, name), f"{node.name}/{name}", axis=0)

    def quantised_weight(
        self,
        node: Node,
        weight: str = "kernel",
        transposed: bool = False,
        scales: tuple[int, ...] = (-1,),
        unsigned: bool = False,
    ) -> list[str]:
        """Return the names of a weight's quantised values (O, ...) or (I, O) and of its scales (O, ...).

        The quantised values are int8, or uint8 if ``unsigned``; those of a bias are int32.
        """
        encoding = cast("AffineQuantised", node.encodings[weight])
        name = f"{node.name}.{weight}"
        values: Any = (encoding.values + np.int16(UNSIGNED)).astype(np.uint8) if unsigned else encoding.values
        return [
            self.constant(name, values.T if transposed else values),
            self.constant(f"{name}{SCALE}", encoding.scale.reshape(scales).astype(self.float_dtype)),
        ]

    def window(self, node: Node) -> dict[str, Any]:
        """Return the attributes of a convolution."""
        stride, padding = node.integer("stride"), node.integer("padding")
        side = node.weights["kernel"].shape[-1]
        return {
            "kernel_shape": [side, side],
            "strides": [stride, stride],
            "pads": [padding] * 4,
            "group": node.integer("groups"),
        }

    def per_channel(self, node: Node, name: str) -> str:
        """Return the name of a weight (C), reshaped so that it broadcasts over all other axes."""
        behind = 0 if node.inputs[0] in self.states else len(self.shapes[node.inputs[0]]) - 2
        return self.weight(node, name, (-1,) + (1,) * behind)

    def channels(self, node: Node) -> int:
        """Return the channel axis of an operation's first input."""
        return 2 if node.inputs[0] in self.states else 1

    def sides(self, value: str, output: str) -> str:
        """Return the name of a map's height and width, computed by the engine."""
        if self.opset.shape_has_start:
            return self.emit("Shape", [value], f"{output}/sides", start=2)
        shape = self.emit("Shape", [value], f"{output}/axes")
        return self.emit("Slice", [shape, self.integers(2), self.integers(4)], f"{output}/sides")

    def mean(self, value: str, axes: Sequence[int], keep: bool, output: str) -> str:
        if self.opset.axes_are_inputs:
            return self.emit("ReduceMean", [value, self.integers(*axes)], output, keepdims=int(keep))
        return self.emit("ReduceMean", [value], output, axes=list(axes), keepdims=int(keep))

    def sum_of_tokens(self, value: str, tokens: Axis, output: str) -> str:
        """Write the sum (B, N) of tokens (B, N, L), in two steps if there are very many."""
        if isinstance(tokens, int) and is_long((tokens,)):
            rows = next(count for count in range(isqrt(tokens), 0, -1) if tokens % count == 0)
            value = self.emit("Reshape", [value, self.integers(0, 0, rows, tokens // rows)], f"{output}/rows")
            value = self.emit("ReduceSum", [value, self.integers(3)], f"{output}/sums", keepdims=0)  # (B, N, rows)
        return self.emit("ReduceSum", [value, self.integers(2)], f"{output}/total", keepdims=0)

    def to_tokens(self, value: str, output: str) -> str:
        """Write the view (B, C, L) of a map."""
        return self.emit("Reshape", [value, self.integers(0, 0, -1)], output)  # 0 keeps an axis

    def to_map(self, tokens: str, like: str, shape: Shape, output: str) -> str:
        """Write the view of tokens as a map of a shape; dynamic sides are those of another map."""
        height, width = shape[2:]
        if isinstance(height, int) and isinstance(width, int):
            target = self.integers(0, 0, height, width)
        else:
            target = self.emit("Concat", [self.integers(0, 0), self.sides(like, output)], f"{output}/shape", axis=0)
        return self.emit("Reshape", [tokens, target], output)

    def integers(self, *values: int) -> str:
        """Return the name of an int64 constant (a shape, axes or sections); equal constants are stored once."""
        return self.constant("integers." + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def constant(self, name: str, array: Any) -> str:
        self.weights[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name


def is_long(axes: Sequence[Axis]) -> bool:
    """Return whether a sum over axes has more than :data:`MOST_TERMS` terms; False for dynamic axes."""
    lengths = [axis for axis in axes if isinstance(axis, int)]
    return len(lengths) == len(axes) and prod(lengths) > MOST_TERMS
