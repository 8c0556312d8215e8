"""Read an ONNX file: a ``ModelProto`` (onnx/onnx.proto), with weights inside it or in files beside it.

A file stores only the shapes of its inputs and outputs; the others come from ONNX's own shape inference, if requested,
on a model without its large weights. Sizes of weights are checked, but the weights are not loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, numpy_helper

from evim_deploy.common.errors import BadInput, Damaged
from evim_deploy.formats.model_file import (
    PLAIN,
    SMALL,
    Axis,
    FileFunction,
    FileOperation,
    ModelFile,
    Parameter,
    Scalar,
    Unsupported,
    Value,
    unsupported_error,
)
from evim_deploy.formats.paths import file_content, is_inside

_ELEMENT_TYPES: Mapping[str, tuple[str, int]] = {
    "FLOAT": ("float32", 32),
    "UINT8": ("uint8", 8),
    "INT8": ("int8", 8),
    "UINT16": ("uint16", 16),
    "INT16": ("int16", 16),
    "INT32": ("int32", 32),
    "INT64": ("int64", 64),
    "STRING": ("string", 0),
    "BOOL": ("bool", 8),
    "FLOAT16": ("float16", 16),
    "DOUBLE": ("float64", 64),
    "UINT32": ("uint32", 32),
    "UINT64": ("uint64", 64),
    "COMPLEX64": ("complex64", 64),
    "COMPLEX128": ("complex128", 128),
    "BFLOAT16": ("bfloat16", 16),
    "UINT4": ("uint4", 4),
    "INT4": ("int4", 4),
    "FLOAT4E2M1": ("float4e2m1", 4),
}
"""By ONNX's name of an element type: numpy's name, and bits per element. All others have eight bits."""

_OPEN = -1
_MAX_AXES = 1 << 12
_TIMEOUT = 60  # seconds, for a graph of any size that fits an engine
_INFER = """
import sys
from onnx import shape_inference
model = shape_inference.infer_shapes(sys.stdin.buffer.read(), data_prop=True)
sys.stdout.buffer.write(model.SerializeToString())
"""
_LISTS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def read(path: Path, infer_shapes: bool) -> ModelFile:
    """Read an ONNX file without the weights' values.

    Raises:
        BadInput: It is not an ONNX model, it is damaged, or its external weights are missing.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(file_content(path))
    except DecodeError:
        raise Damaged(f"{path} is damaged: it cannot be parsed as an ONNX model.") from None
    if not model.HasField("graph") or not model.ir_version or not model.opset_import:
        raise BadInput(f"{path} is not an ONNX model.", "Name a file that an ONNX exporter wrote.")
    try:
        return _Model(path, model).contents(infer_shapes)
    except Unsupported as error:
        raise unsupported_error(path, error) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise Damaged(f"{path} is damaged: {error}.") from None


class _Model:
    """A parsed model; every method raises ValueError if it is damaged."""

    def __init__(self, path: Path, model: onnx.ModelProto) -> None:
        self.path = path
        self.model = model
        self.constants = {each.name: self._constant(each, each.name) for each in model.graph.initializer}
        for each in model.graph.sparse_initializer:
            self.constants[each.values.name] = self._sparse(each)

    def contents(self, infer_shapes: bool) -> ModelFile:
        graph = (_inferred(self.model) if infer_shapes else self.model).graph
        inputs = tuple(_declared(each) for each in graph.input if each.name not in self.constants)
        outputs = tuple(_declared(each) for each in graph.output)
        known = {each.name: each for each in map(_declared, (*graph.value_info, *graph.output, *graph.input))}
        functions = list(
            self._functions("main", self.model.graph, {**known, **self.constants}, inputs=inputs, outputs=outputs)
        )
        for each in self.model.functions:
            inputs_, outputs_ = (tuple(map(_unknown, side)) for side in (each.input, each.output))
            functions += self._functions(each.name, each, {}, inputs=inputs_, outputs=outputs_)
        opset = max((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), default=0)
        return ModelFile(
            format="onnx",
            kind=f"ONNX opset {opset}",
            producer=f"{self.model.producer_name} {self.model.producer_version}".strip(),
            description=self.model.doc_string,
            metadata={each.key: each.value for each in self.model.metadata_props},
            inputs=inputs,
            outputs=outputs,
            functions=tuple(functions),
        )

    def _functions(
        self,
        name: str,
        body: onnx.GraphProto | onnx.FunctionProto,
        known: Mapping[str, Value],
        *,
        inputs: tuple[Value, ...],
        outputs: tuple[Value, ...],
    ) -> Iterator[FileFunction]:
        """A graph, then the subgraphs of its control flow."""
        operations = []
        nested = []
        for index, node in enumerate(body.node):
            title = node.name or next(iter(node.output), "") or f"{node.op_type}_{index}"
            operations.append(self._operation(title, node, known))
            for attribute in node.attribute:
                graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
                nested += [(f"{name}/{title}.{attribute.name}", graph) for graph in graphs]
        yield FileFunction(name, inputs, outputs, tuple(operations))
        for title, graph in nested:
            own = {each.name: each for each in map(_declared, (*graph.value_info, *graph.output, *graph.input))}
            weights = {each.name: self._constant(each, each.name) for each in graph.initializer}
            inner, outer = (tuple(map(_declared, side)) for side in (graph.input, graph.output))
            yield from self._functions(title, graph, {**known, **own, **weights}, inputs=inner, outputs=outer)

    def _operation(self, title: str, node: onnx.NodeProto, known: Mapping[str, Value]) -> FileOperation:
        inputs, outputs = (
            [known.get(name) or _unknown(name) for name in side if name] for side in (node.input, node.output)
        )
        parameters: dict[str, Parameter] = {}
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                inputs.append(self._constant(attribute.t, f"{title}.{attribute.name}"))
            elif (value := _parameter(attribute)) is not None:
                parameters[attribute.name] = value
        return FileOperation(
            type=node.op_type, name=title, inputs=tuple(inputs), outputs=tuple(outputs), parameters=parameters
        )

    def _constant(self, tensor: TensorProto, name: str) -> Value:
        dtype, bits = _element_type(tensor.data_type, name)
        shape = tuple(tensor.dims)
        if min(shape, default=0) < 0:
            raise ValueError(f"{name} has a shape of {shape}")
        expected = (prod(shape) * bits + 7) // 8
        if dtype == "string":
            return Value(
                name=name, dtype=dtype, shape=shape, is_constant=True, stored_bytes=sum(map(len, tensor.string_data))
            )
        if tensor.data_location == TensorProto.EXTERNAL:
            self._check_external(tensor, name, expected)
            return Value(name=name, dtype=dtype, shape=shape, is_constant=True, stored_bytes=expected)
        if tensor.HasField("raw_data"):
            if len(tensor.raw_data) != expected:
                raise ValueError(f"{name} of shape {shape} has {len(tensor.raw_data)} bytes, not {expected}")
        elif bits >= 8 and _listed(tensor) != prod(shape) * (2 if dtype.startswith("complex") else 1):
            raise ValueError(f"{name} of shape {shape} has {_listed(tensor)} elements, not {prod(shape)}")
        is_small = dtype in PLAIN and prod(shape) <= SMALL
        elements = tuple(numpy_helper.to_array(tensor).ravel().tolist()) if is_small else ()
        return Value(name=name, dtype=dtype, shape=shape, is_constant=True, stored_bytes=expected, elements=elements)

    def _sparse(self, tensor: onnx.SparseTensorProto) -> Value:
        values, indices = (self._constant(each, tensor.values.name) for each in (tensor.values, tensor.indices))
        stored = values.stored_bytes + indices.stored_bytes
        return Value(
            name=tensor.values.name, dtype=values.dtype, shape=tuple(tensor.dims), is_constant=True, stored_bytes=stored
        )

    def _check_external(self, tensor: TensorProto, name: str, expected: int) -> None:
        """Check that external weights exist, in a file beside this one."""
        fields = {each.key: each.value for each in tensor.external_data}
        location = fields.get("location", "")
        folder = self.path.resolve().parent
        file = folder / location
        if not location or not is_inside(folder, file):
            raise ValueError(f"{name} has its weights in {location!r}, which is not beside it")
        if not os.path.isfile(file):  # noqa: PTH113  # false for too long a name, for which Path's own raises
            raise BadInput(
                f"{self.path} is incomplete: its file of weights {location} is missing.", "Copy it beside the model."
            )
        texts = fields.get("offset", "0"), fields.get("length", str(expected))
        if not all(text.isdecimal() for text in texts) or int(texts[1]) != expected:
            raise ValueError(f"{name} has {texts[1]} bytes from {texts[0]} on in {location}, not {expected}")
        start, length = map(int, texts)
        if start + length > file.stat().st_size:
            raise ValueError(f"{location} ends at byte {file.stat().st_size}, before the weights of {name}")


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred shapes and without its larger weights.

    The inference is native code that a damaged file can crash, so it runs in a process of its own.
    """
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > SMALL:
            for field in ("raw_data", "data_location", "external_data", *_LISTS):
                tensor.ClearField(field)
    child = [sys.executable, "-P", "-c", _INFER]
    try:
        done = subprocess.run(child, input=model.SerializeToString(), capture_output=True, timeout=_TIMEOUT)
        return onnx.ModelProto.FromString(done.stdout) if done.returncode == 0 else model
    except (subprocess.TimeoutExpired, DecodeError):
        return model


def _declared(info: onnx.ValueInfoProto) -> Value:
    """A value from the declaration of an input, an output or ``value_info``."""
    kind = info.type.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return Value(name=info.name, dtype=(kind or "unknown").removesuffix("_type"), shape=None)
    tensor = getattr(info.type, kind)
    dtype, _ = _element_type(tensor.elem_type, info.name)
    if not tensor.HasField("shape"):
        return Value(name=info.name, dtype=dtype, shape=None)
    if len(tensor.shape.dim) > _MAX_AXES:
        raise ValueError(f"{info.name} has {len(tensor.shape.dim)} axes")
    return Value(name=info.name, dtype=dtype, shape=tuple(map(_axis, tensor.shape.dim)))


def _axis(dim: onnx.TensorShapeProto.Dimension) -> Axis:
    """An axis of an input or output. Some exporters write -1 for an open axis, which ONNX Runtime accepts."""
    if not dim.HasField("dim_value") or dim.dim_value == _OPEN:
        return dim.dim_param or "?"
    if dim.dim_value < 0:
        raise ValueError(f"an axis of length {dim.dim_value}")
    return int(dim.dim_value)


def _unknown(name: str) -> Value:
    return Value(name=name, dtype="unknown", shape=None)


def _element_type(number: int, name: str) -> tuple[str, int]:
    if number == TensorProto.UNDEFINED:
        return "unknown", 8
    if number not in TensorProto.DataType.values():
        raise Unsupported(f"{name} has element type {number}")
    word = TensorProto.DataType.Name(number)
    return _ELEMENT_TYPES.get(word, (word.lower(), 8))


def _listed(tensor: TensorProto) -> int:
    """Number of elements in a tensor's typed lists."""
    return sum(len(getattr(tensor, field)) for field in _LISTS)


def _parameter(attribute: AttributeProto) -> Parameter | None:
    """An attribute of numbers or strings; None for other types and for long lists."""
    singles = {AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s"}
    several = {AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints", AttributeProto.STRINGS: "strings"}
    if attribute.type in singles:
        return next(_words([getattr(attribute, singles[attribute.type])]))
    values = getattr(attribute, several[attribute.type]) if attribute.type in several else None
    return tuple(_words(values)) if values is not None and len(values) <= SMALL else None


def _words(values: Iterable[bytes | int | float]) -> Iterator[Scalar]:
    return (value.decode(errors="replace") if isinstance(value, bytes) else value for value in values)
