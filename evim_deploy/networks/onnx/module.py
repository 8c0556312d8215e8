"""An ONNX graph as a torch module: its nodes in order, each a layer of torch or a pure function.

The existing library, onnx2torch 1.5.15, cannot read files of torch's current exporter: it supports ReduceMean up to
opset 13, Shape up to opset 15, Reshape without ``allowzero``, and no Gelu; onnx's version converter cannot lower those.

Values that do not depend on pixels are computed in numpy: constants at loading, others when the network runs or is
traced, so that a trace has fixed shapes and no operations that compute them. Nothing in a file is executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from onnx import AttributeProto, GraphProto, SparseTensorProto, helper, numpy_helper
from torch import Tensor, nn

from evim_deploy.common.errors import BadInput, EvimError, first_line
from evim_deploy.networks.onnx.gelu import fuse_gelu
from evim_deploy.networks.onnx.layer_norm import fuse_layer_norms
from evim_deploy.networks.onnx.layers import LAYERS, layer_of
from evim_deploy.networks.onnx.node import Host, OnnxNode, Value, is_known, tensor
from evim_deploy.networks.onnx.operations import OPERATIONS
from evim_deploy.networks.onnx.shapes import HOST, SHAPES, plain

MIN_OPSET, MAX_OPSET = 11, 23
"""The supported versions of ONNX's operators."""


class OnnxModule(nn.Module):
    """A graph of one input and one output, in evaluation mode and without gradients.

    Args:
        graph: A valid ``onnx.GraphProto`` with its weights.
        opset: Its version of ONNX's operators.
        image: Input images (B, 3, H, W); the shape of a node's input determines its layer.

    Attributes:
        only_batch: The only batch size that it accepts; None for any.

    Raises:
        BadInput: A node is unknown or not supported.
    """

    def __init__(self, graph: GraphProto, opset: int, image: Tensor) -> None:
        super().__init__()
        if not MIN_OPSET <= opset <= MAX_OPSET:
            raise BadInput(
                f"The network is in ONNX opset {opset}; those from {MIN_OPSET} to {MAX_OPSET} can be converted.",
                "Export it again in one of those.",
            )
        constants = {name: _constant(array, name in _numbers(graph)) for name, array in _constants(graph).items()}
        self.only_batch: int | None = None
        (self._output,) = (output.name for output in graph.output)
        (self._input,) = (each.name for each in graph.input if each.name not in constants)
        self._nodes: list[OnnxNode] = []
        self._numbers: dict[str, Value] = {"": None}
        self._layers = nn.ModuleDict()
        self._weights = nn.ParameterDict()
        with torch.no_grad():
            self._build(_needed(_fused(_nodes(graph, opset), constants), self._output), constants, image)
        self._last_used = _last_uses(self._nodes, self._output)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """The output for images (B, 3, H, W).

        Raises:
            BadInput: It does not accept this batch size.
        """
        if self.only_batch is not None and image.shape[0] != self.only_batch:
            raise BadInput(f"The network accepts {self.only_batch} image at a time.", "Leave out `--batch`.")
        values: dict[str, Any] = {self._input: image}
        for node in self._nodes:
            values.update(self._computed(node, [self._value(name, values) for name in node.inputs]))
            for name in self._last_used[node.outputs[0]]:
                values.pop(name, None)
        return values[self._output]

    def _value(self, name: str, values: Mapping[str, Value]) -> Value:
        if name in values:
            return values[name]
        return self._weights[_key(name)] if _key(name) in self._weights else self._numbers[name]

    def _computed(self, node: OnnxNode, inputs: Sequence[Value]) -> dict[str, Value]:
        key = _key(node.outputs[0])
        return {node.outputs[0]: self._layers[key](inputs[0])} if key in self._layers else compute(node, inputs)

    def _build(self, nodes: Sequence[OnnxNode], constants: dict[str, Value], image: Tensor) -> None:
        """Compute the constants; the other nodes become layers and steps."""
        values: dict[str, Value] = {"": None, **constants, self._input: image}
        for node in nodes:
            inputs = [_input(name, node, nodes, values) for name in node.inputs]
            try:
                if all(name in constants for name in node.inputs if name):
                    outputs = {name: _folded(value) for name, value in compute(node, inputs).items()}
                    constants.update(outputs)
                else:
                    self._add(node, inputs, constants)
                    outputs = self._computed(node, inputs)
            except EvimError:
                raise
            except Exception as error:  # torch and numpy raise errors of many kinds where inputs do not fit
                raise node.unsupported(f"does not fit its inputs ({first_line(error)})") from error
            values.update(outputs)

    def _add(self, node: OnnxNode, inputs: Sequence[Value], constants: Mapping[str, Value]) -> None:
        """Add a step, with its constant inputs; a layer has its own weights."""
        first, *others = inputs
        if isinstance(first, Tensor) and all(name in constants for name in node.inputs[1:] if name):
            layer = layer_of(node, first, [tensor(value) for value in others if value is not None])
            if layer is not None:
                self._layers[_key(node.outputs[0])] = layer
                self._nodes.append(replace(node, inputs=node.inputs[:1]))
                return
        self._nodes.append(node)
        for name in node.inputs:
            if name in constants:
                self._store(name, constants[name])

    def _store(self, name: str, value: Value) -> None:
        if isinstance(value, Tensor):
            self._weights[_key(name)] = nn.Parameter(value, requires_grad=False)
        else:
            self._numbers[name] = value


def compute(node: OnnxNode, inputs: Sequence[Value]) -> dict[str, Value]:
    """The outputs of a node by name.

    Raises:
        BadInput: The node is unknown or not supported.
    """
    if node.op in SHAPES:
        return {node.outputs[0]: SHAPES[node.op](node, *inputs)}
    if node.op in HOST and not any(isinstance(value, Tensor) for value in inputs):
        return {node.outputs[0]: plain(HOST[node.op](node, *inputs))}
    if node.op in LAYERS and node.op not in OPERATIONS:
        raise node.unsupported("computes its weights from the image")
    if node.op not in OPERATIONS:
        raise node.unsupported("is unknown")
    if not any(isinstance(value, Tensor) for value in inputs):
        inputs = [None if value is None else tensor(value) for value in inputs]
    results = OPERATIONS[node.op](node, *inputs)
    return dict(zip(node.outputs, [results] if isinstance(results, Tensor) else results, strict=False))


def _key(name: str) -> str:
    """A value's name in the form that torch allows for a parameter."""
    return f"value_{name.replace('%', '%25').replace('.', '%2E')}"


def _input(name: str, node: OnnxNode, nodes: Sequence[OnnxNode], values: Mapping[str, Value]) -> Value:
    """The value of an input of a node.

    Raises:
        BadInput: It is an output that is not computed here, it is unknown, or its element type is not supported.
    """
    if name not in values:
        producer = next((each for each in nodes if name in each.outputs), None)
        if producer:
            raise producer.unsupported(f"has a second output, {name}")
        raise node.unsupported(f"has an unknown input, {name}")
    value = values[name]
    if isinstance(value, np.ndarray) and value.dtype != object and not is_known(value):
        raise node.unsupported(f"has the input {name} of the element type {value.dtype.name}")
    return value


def _numbers(graph: GraphProto) -> set[str]:
    """Names of the floats from which sizes are computed."""
    return {name for node in graph.node if node.op_type == "Resize" for name in node.input}


def _constant(array: Host, is_number: bool = False) -> Value:
    """A constant: weights as a tensor, numbers for lengths and limits as an array."""
    is_weight = is_known(array) and array.dtype.kind == "f" and (array.size != 1 or array.ndim > 1)
    return torch.tensor(array) if is_weight and not is_number else array


def _folded(value: Value) -> Value:
    """A computed constant."""
    return _constant(value.numpy()) if isinstance(value, Tensor) else value


def _constants(graph: GraphProto) -> dict[str, Host]:
    """The values that a graph holds, by name."""
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    arrays |= {each.values.name: _dense(each) for each in graph.sparse_initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            arrays[node.output[0]] = _elements(node.attribute[0])
    return arrays


def _elements(attribute: AttributeProto) -> Host:
    value = helper.get_attribute_value(attribute)
    if attribute.name == "sparse_value":
        return _dense(value)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    kinds: dict[str, Any] = {"value_int": np.int64, "value_float": np.float32, "value_string": np.str_}
    return np.array(value, dtype=kinds[attribute.name.removesuffix("s")])


def _dense(tensor: SparseTensorProto) -> Host:
    """A sparse tensor as an array; it has an index for each element, or for each axis."""
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    dense = np.zeros(tuple(tensor.dims), values.dtype)
    dense.flat[indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), dense.shape)] = values
    return dense


def _nodes(graph: GraphProto, opset: int) -> list[OnnxNode]:
    nodes = []
    for node in graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        arrays = {name: numpy_helper.to_array(each) for name, each in attributes.items() if hasattr(each, "raw_data")}
        name = node.name or next(iter(node.output), "")
        inputs, outputs = tuple(node.input), tuple(node.output)
        if node.op_type != "Constant":
            nodes.append(
                OnnxNode(
                    op=node.op_type,
                    name=name,
                    opset=opset,
                    inputs=inputs,
                    outputs=outputs,
                    attributes={**attributes, **arrays},
                )
            )
    return nodes


def _needed(nodes: Sequence[OnnxNode], output: str) -> list[OnnxNode]:
    """The nodes that the output depends on."""
    values, needed = {output}, []
    for node in reversed(nodes):
        if not values.isdisjoint(node.outputs):
            values.update(node.inputs)
            needed.append(node)
    return needed[::-1]


def _fused(nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> list[OnnxNode]:
    """The nodes, with GELUs and norms that the file has written out as one operation each."""
    return fuse_layer_norms(fuse_gelu(nodes, constants), constants)


def _last_uses(nodes: Sequence[OnnxNode], output: str) -> dict[str, list[str]]:
    """By the first output of a node, the values without a later consumer."""
    seen, last = {output}, {}
    for node in reversed(nodes):
        values = {*node.inputs, *node.outputs} - seen
        last[node.outputs[0]] = sorted(values)
        seen |= values
    return last
