"""Read a .tflite file: a flatbuffer of subgraphs, tensors and buffers.

Flatbuffers are read in place and have no checksum, so every index and every length is checked before use.

Source: TensorFlow, tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from evim_deploy.common.errors import BadInput, Damaged
from evim_deploy.formats.model_file import (
    PLAIN,
    SMALL,
    FileFunction,
    FileOperation,
    ModelFile,
    Parameter,
    Scalar,
    Unsupported,
    Value,
    unsupported_error,
)
from evim_deploy.formats.paths import file_content

_IDENTIFIER = b"TFL3"
_VERSION = 3
_MAX_ENTRIES = 1 << 17  # of a list: five times that of the largest published graphs
_MAX_NAME = 1 << 16  # bytes
_MAX_AXES = 32

_CUSTOM = "CUSTOM"
_NO_BITS = frozenset(["string", "resource", "variant"])


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


_OPERATIONS = _names(schema.BuiltinOperator)
_OPTIONS = _names(schema.BuiltinOptions)
_DTYPES = {number: name.lower() for number, name in _names(schema.TensorType).items()}
_ENUMERATIONS = {
    "fused_activation_function": _names(schema.ActivationFunctionType),
    "padding": _names(schema.Padding),
}


def read(path: Path, infer_shapes: bool) -> ModelFile:
    """Read a .tflite file without the weights' values; the file stores all shapes.

    Raises:
        BadInput: It is not a TFLite file, or it is damaged.
    """
    content = file_content(path)
    if content[4:8] != _IDENTIFIER:
        raise BadInput(f"{path} is not a TFLite file.", "Name a file that a TensorFlow Lite converter wrote.")
    try:
        return _Model(content).contents()
    except Unsupported as error:
        raise unsupported_error(path, error) from None
    except _Damage as damage:
        raise Damaged(f"{path} is damaged: {damage}.") from None
    except (ValueError, TypeError, struct.error):  # from the flatbuffer's own code
        raise Damaged(f"{path} is damaged: it points beyond its end.") from None


class _Damage(Exception):
    """An inconsistency in a file."""


class _Model:
    """A file's flatbuffer; if it is damaged a method raises _Damage or an error of flatbuffers."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.model = schema.Model.GetRootAs(content, 0)
        if self.model.Version() != _VERSION:
            raise Unsupported(f"its schema has version {self.model.Version()}, not {_VERSION}")

    def contents(self) -> ModelFile:
        functions = tuple(self._function(index, graph) for index, graph in enumerate(_each(self.model, "Subgraphs")))
        if not functions:
            raise _Damage("it has no subgraph")
        metadata = {_text(entry.Name()): self._metadata_text(entry.Buffer()) for entry in _each(self.model, "Metadata")}
        inputs, outputs = self._interface(functions[0])
        description = _text(self.model.Description())
        return ModelFile(
            format="tflite",
            kind=f"TFLite schema {_VERSION}",
            producer="",
            description=description,
            metadata=metadata,
            inputs=inputs,
            outputs=outputs,
            functions=functions,
        )

    @cached_property
    def _buffers(self) -> list[schema.Buffer]:
        return list(_each(self.model, "Buffers"))

    @cached_property
    def _codes(self) -> list[tuple[str, str]]:
        """The operator codes of the file: each type, and the name of a custom operation."""
        codes = []
        for code in _each(self.model, "OperatorCodes"):
            number = max(
                code.BuiltinCode(), code.DeprecatedBuiltinCode()
            )  # files from before 2020 have only the latter
            codes.append((_OPERATIONS.get(number, f"BUILTIN_{number}"), _text(code.CustomCode())))
        return codes

    def _data(self, index: int) -> bytes | memoryview:
        """The content of a buffer, without a copy; may be empty."""
        if not 0 <= index < len(self._buffers):
            raise _Damage(f"it names buffer {index} of {len(self._buffers)}")
        buffer = self._buffers[index]
        start, size = buffer.Offset(), buffer.Size()
        if start > 1:  # a buffer too large for the flatbuffer follows it
            if start + size > len(self.content):
                raise _Damage(f"it ends at byte {len(self.content)}, before a buffer of {start} to {start + size}")
            return memoryview(self.content)[start : start + size]
        data = buffer.DataAsNumpy()  # 0 if it is empty
        return b"" if isinstance(data, int) else data.data

    def _metadata_text(self, index: int) -> str:
        """Metadata as text; its size if it is binary."""
        data = bytes(self._data(index))
        try:
            text = data.decode().rstrip("\0")
        except UnicodeDecodeError:
            return f"{len(data)} bytes"
        return text if text.isprintable() else f"{len(data)} bytes"

    def _function(self, index: int, graph: schema.SubGraph) -> FileFunction:
        values = [self._value(number, tensor) for number, tensor in enumerate(_each(graph, "Tensors"))]
        operations = tuple(self._operation(op, values) for op in _each(graph, "Operators"))
        name = _text(graph.Name()) or ("main" if index == 0 else f"subgraph {index}")
        return FileFunction(name, _chosen(graph, "Inputs", values), _chosen(graph, "Outputs", values), operations)

    def _value(self, number: int, tensor: schema.Tensor) -> Value:
        name = _text(tensor.Name()) or f"tensor {number}"
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise Unsupported(f"{name} is of type {tensor.Type()}")
        shape = _integers(tensor, "Shape")
        signature = _integers(tensor, "ShapeSignature")
        if min(shape, default=0) < 0 or len(shape) > _MAX_AXES:
            raise _Damage(f"{name} has a shape of {shape[:_MAX_AXES]}")
        if signature and len(signature) != len(shape):
            raise _Damage(f"{name} has two shapes, {shape} and {signature[:_MAX_AXES]}")
        axes = tuple("?" if open_ == -1 else axis for axis, open_ in zip(shape, signature or shape, strict=True))
        if tensor.ExternalBuffer():
            return Value(
                name=name,
                dtype=dtype,
                shape=axes,
                is_constant=True,
                stored_bytes=self._external_bytes(tensor.ExternalBuffer()),
            )
        data = self._data(tensor.Buffer())
        is_constant = len(data) > 0 and not tensor.IsVariable()
        if is_constant and tensor.Sparsity() is None and dtype not in _NO_BITS:
            expected = (prod(shape) * _bits(dtype) + 7) // 8
            if len(data) != expected:
                raise _Damage(f"{name} of shape {shape} has {len(data)} bytes, not {expected}")
        elements = _elements(data, dtype) if is_constant and prod(shape) <= SMALL else ()
        return Value(
            name=name,
            dtype=dtype,
            shape=axes,
            is_constant=is_constant,
            stored_bytes=len(data) if is_constant else 0,
            elements=elements,
        )

    def _external_bytes(self, identifier: int) -> int:
        matching = [entry for entry in _each(self.model, "ExternalBuffers") if entry.Id() == identifier]
        if not matching:
            raise _Damage(f"it refers to external weights without a description ({identifier})")
        return int(matching[0].Length())

    def _operation(self, op: schema.Operator, values: list[Value]) -> FileOperation:
        if not 0 <= op.OpcodeIndex() < len(self._codes):
            raise _Damage(f"it names operation {op.OpcodeIndex()} of {len(self._codes)}")
        type_, custom = self._codes[op.OpcodeIndex()]
        inputs, outputs = _chosen(op, "Inputs", values), _chosen(op, "Outputs", values)
        parameters = {**_parameters(op), **({"custom_code": custom} if type_ == _CUSTOM else {})}
        return FileOperation(
            type=type_,
            name=outputs[0].name if outputs else type_.lower(),
            inputs=inputs,
            outputs=outputs,
            parameters=parameters,
        )

    def _interface(self, main: FileFunction) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """Inputs and outputs of the first signature under its names; without a signature, of the main subgraph."""
        for signature in _each(self.model, "SignatureDefs"):
            graph = self.model.Subgraphs(0)
            if signature.SubgraphIndex() == 0:
                return self._named(signature, "Inputs", graph), self._named(signature, "Outputs", graph)
        return main.inputs, main.outputs

    def _named(self, signature: schema.SignatureDef, side: str, graph: schema.SubGraph) -> tuple[Value, ...]:
        named = []
        for entry in _each(signature, side):
            if not 0 <= entry.TensorIndex() < graph.TensorsLength():
                raise _Damage(f"its signature names tensor {entry.TensorIndex()} of {graph.TensorsLength()}")
            value = self._value(entry.TensorIndex(), graph.Tensors(entry.TensorIndex()))
            named.append(Value(name=_text(entry.Name()) or value.name, dtype=value.dtype, shape=value.shape))
        return tuple(named)


def _each(table: Any, name: str) -> Iterator[Any]:
    """The entries of a list."""
    count = getattr(table, f"{name}Length")()
    if count > _MAX_ENTRIES:
        raise _Damage(f"it claims {count} {name.lower()}")
    entry = getattr(table, name)
    return (entry(index) for index in range(count))


def _integers(table: Any, name: str) -> tuple[int, ...]:
    if getattr(table, f"{name}Length")() > _MAX_ENTRIES:
        raise _Damage(f"it claims {getattr(table, f'{name}Length')()} {name.lower()}")
    array = getattr(table, f"{name}AsNumpy")()
    return () if isinstance(array, int) else tuple(array.tolist())  # 0 means empty


def _chosen(table: Any, side: str, values: list[Value]) -> tuple[Value, ...]:
    """The tensors of a list of indices; -1 stands for a missing optional tensor."""
    indices = [index for index in _integers(table, side) if index != -1]
    wrong = [index for index in indices if not 0 <= index < len(values)]
    if wrong:
        raise _Damage(f"it names tensor {wrong[0]} of {len(values)}")
    return tuple(values[index] for index in indices)


def _text(name: bytes | None) -> str:
    if name is None:
        return ""
    if len(name) > _MAX_NAME:
        raise _Damage(f"it has a name of {len(name)} bytes")
    return name.decode(errors="replace")


def _bits(dtype: str) -> int:
    return 8 if dtype == "bool" else int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))


def _elements(data: bytes | memoryview, dtype: str) -> tuple[Scalar, ...]:
    return tuple(np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).tolist()) if dtype in PLAIN else ()


def _parameters(op: schema.Operator) -> dict[str, Parameter]:
    """Options of a builtin operation under the schema's names; enumerations by the names of their values."""
    name = _OPTIONS.get(op.BuiltinOptionsType(), "NONE")
    table = op.BuiltinOptions()
    if name == "NONE" or table is None:
        return {}
    options = getattr(schema, name)()
    options.Init(table.Bytes, table.Pos)
    parameters: dict[str, Parameter] = {}
    for field, value in vars(getattr(schema, f"{name}T").InitFromObj(options)).items():
        key = re.sub("(?<=[a-z])([A-Z])", r"_\1", field).lower()
        if key in _ENUMERATIONS:
            parameters[key] = _ENUMERATIONS[key].get(value, str(value))
        elif isinstance(value, np.ndarray):
            parameters[key] = tuple(value.tolist()[:SMALL])
        elif isinstance(value, str | bool | int | float):
            parameters[key] = value
    return parameters
