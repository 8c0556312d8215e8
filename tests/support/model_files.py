"""Small model files of each format, written without our exporters, as other tools write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Array = npt.NDArray[Any]

DTYPES = {
    name: getattr(schema.TensorType, name.upper())
    for name in ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
}


@dataclass(frozen=True)
class Computed:
    """A computed tensor; ``signature`` is its declared shape, with -1 for an open axis."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    signature: tuple[int, ...] | None = None


Tensor = Computed | Array
Node = tuple[str, Sequence[int], Sequence[int], Any]


def write_tflite(
    path: Path, tensors: Sequence[Tensor], nodes: Sequence[Node], inputs: Sequence[int], outputs: Sequence[int]
) -> Path:
    """Write a TFLite file with one subgraph.

    A node is a type, indices of inputs (-1 for an absent input), indices of outputs, and options.
    """
    model = schema.ModelT()
    model.version, model.description = 3, "written by a test"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(model, index, tensor) for index, tensor in enumerate(tensors)]
    graph.inputs, graph.outputs = (np.array(side, np.int32) for side in (inputs, outputs))
    types = sorted({type_ for type_, *_ in nodes})
    model.operatorCodes = [_code(type_) for type_ in types]
    graph.operators = [_node(types.index(node[0]), node) for node in nodes]
    model.subgraphs = [graph]
    return pack(model, path)


def pack(model: Any, path: Path) -> Path:
    """Write a model of the schema's object interface."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def unpack(path: Path) -> Any:
    """Read a file as a model of the schema's object interface."""
    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


def ones(*shape: int, dtype: str = "float32") -> Array:
    return np.ones(shape, dtype)


def integers(*values: int) -> Array:
    return np.array(values, np.int32)


def write_operation(
    path: Path, type_: str, inputs: Sequence[Tensor | None], outputs: Sequence[Computed], options: Any = None
) -> Path:
    """Write a TFLite file with one operation."""
    given = [tensor for tensor in inputs if tensor is not None]
    positions = iter(range(len(given)))
    indices = [-1 if tensor is None else next(positions) for tensor in inputs]
    computed = [index for index, tensor in enumerate(given) if isinstance(tensor, Computed)]
    results = list(range(len(given), len(given) + len(outputs)))
    return write_tflite(path, [*given, *outputs], [(type_, indices, results, options)], computed, results)


def _tensor(model: Any, index: int, tensor: Tensor) -> Any:
    entry = schema.TensorT()
    entry.name = f"t{index}".encode()
    entry.shape = np.array(tensor.shape, np.int32)
    entry.type = DTYPES[str(tensor.dtype)]
    if isinstance(tensor, Computed):
        entry.shapeSignature = None if tensor.signature is None else np.array(tensor.signature, np.int32)
    else:
        entry.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(tensor).tobytes(), np.uint8)
    if entry.type in (schema.TensorType.INT8, schema.TensorType.UINT8):
        entry.quantization = schema.QuantizationParametersT()
        entry.quantization.scale = np.array([0.5], np.float32)
        entry.quantization.zeroPoint = np.array([0], np.int64)
    return entry


def _code(type_: str) -> Any:
    code = schema.OperatorCodeT()
    builtin, _, custom = type_.partition(":")
    code.builtinCode = getattr(schema.BuiltinOperator, builtin)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.customCode = custom.encode() or None
    code.version = 1
    return code


def _node(code: int, node: Node) -> Any:
    _, inputs, outputs, options = node
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = (np.array(side, np.int32) for side in (inputs, outputs))
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator


def options(name: str, **fields: Any) -> Any:
    """Create the options of an operation from the name of their table."""
    table = getattr(schema, f"{name}OptionsT")()
    for field, value in fields.items():
        assert hasattr(table, field), field
        setattr(table, field, value)
    return table
