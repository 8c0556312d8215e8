"""Read a Core ML program: functions of operations over named, typed values.

Source: coremltools, mlmodel/format/MIL.proto. Nothing is interpreted, and every array of weights is read from the
package's own files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.formats.blob import packed_bytes, read_blob, unpack
from evim_deploy.formats.model_file import Unsupported
from evim_deploy.formats.protobuf import core_ml

if TYPE_CHECKING:
    from google.protobuf.message import Message

Scalar = str | bool | int | float
Blobs = Callable[[str], bytes]
"""Reads a file of weights, by its name in the program."""

_IMMEDIATE = {
    "bool": ("bools", np.bool_),
    "string": ("strings", np.str_),
    "float32": ("floats", np.float32),
    "float64": ("doubles", np.float64),
    "int16": ("ints", np.int16),
    "uint16": ("ints", np.uint16),
    "int32": ("ints", np.int32),
    "uint32": ("ints", np.uint32),
    "int64": ("longInts", np.int64),
    "uint64": ("longInts", np.uint64),
}
"""Element types stored as lists in the program, with their field; other types are stored as bytes."""


@dataclass(frozen=True)
class ValueType:
    """An element type and a shape; a list, a dictionary or a state has its kind as dtype and an empty shape.

    Attributes:
        dtype: Element type by numpy's name, or ``string``, ``int4`` and the like.
        shape: Length of each axis; None for an open axis.
        is_variadic: Whether the number of axes may vary.
    """

    dtype: str
    shape: tuple[int | None, ...]
    is_variadic: bool = False

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float16", "float32", "float64", "bfloat16")


@dataclass(frozen=True)
class Constant:
    """A constant of the program; an array of rank 0 is a Python scalar.

    Attributes:
        type: Its type.
        value: Its value.
        stored_bytes: Its size in a weights file; 0 if it is in the program itself.
    """

    type: ValueType
    value: npt.NDArray[np.generic] | Scalar
    stored_bytes: int


Binding = str | Constant
"""The argument of a parameter: the name of a value, or a constant."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: Its type in the specification's spelling: ``conv``, ``layer_norm`` ...
        inputs: The arguments of each parameter; several for a parameter such as concat's ``values``.
        outputs: Names and types.
        has_blocks: Whether it is control flow with nested operations.
    """

    type: str
    inputs: Mapping[str, tuple[Binding, ...]]
    outputs: tuple[tuple[str, ValueType], ...]
    has_blocks: bool

    @property
    def name(self) -> str:
        """Name of its first output."""
        return self.outputs[0][0]


@dataclass(frozen=True)
class Function:
    """A function of a program, with its constants separate.

    Attributes:
        inputs: Type of each input.
        constants: By name of the value.
        operations: In execution order, without ``const``.
        outputs: Names of the values that it returns.
    """

    inputs: Mapping[str, ValueType]
    constants: Mapping[str, Constant]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


def read_functions(program: Message, blobs: Blobs) -> dict[str, Function]:
    """The functions of a program, a ``MILSpec.Program``.

    Raises:
        NotKnown: A constant has an unknown type.
        ValueError: It is damaged; the message names the place.
    """
    return {name: _function(name, function, blobs) for name, function in sorted(program.functions.items())}


def _function(name: str, function: Message, blobs: Blobs) -> Function:
    if function.opset not in function.block_specializations:
        raise ValueError(f"function {name} has no operations for its {function.opset!r}")
    block = function.block_specializations[function.opset]
    inputs = {value.name: _type(value.type) for value in function.inputs}
    constants: dict[str, Constant] = {}
    operations: list[Operation] = []
    known = set(inputs)
    for op in block.operations:
        if not op.outputs:
            raise ValueError(f"function {name} has an operation {op.type!r} without an output")
        if op.type == "const":
            constants[op.outputs[0].name] = _value(op, blobs)
        else:
            operations.append(_operation(op, blobs))
            _require(known, operations[-1].name, operations[-1].inputs.values())
        for output in op.outputs:
            if output.name in known:
                raise ValueError(f"{output.name} is defined twice")
            known.add(output.name)
    _require(known, f"function {name}", [tuple(block.outputs)])
    return Function(inputs, constants, tuple(operations), tuple(block.outputs))


def _require(known: Set[str], consumer: str, arguments: Iterable[tuple[Binding, ...]]) -> None:
    for binding in (each for bindings in arguments for each in bindings):
        if isinstance(binding, str) and binding not in known:
            raise ValueError(f"{consumer} uses {binding!r} before its definition")


def _value(op: Message, blobs: Blobs) -> Constant:
    if "val" not in op.attributes:
        raise ValueError(f"{op.outputs[0].name}: a constant without a value")
    return _constant(op.attributes["val"], blobs, op.outputs[0].name)


def _rank(parameter: str) -> tuple[bool, str]:
    """The sort key of an input: the data first, then the parameters by name. Protobuf maps are unordered."""
    return (parameter not in ("x", "query", "cond", "values", "data"), parameter)


def _operation(op: Message, blobs: Blobs) -> Operation:
    name = op.outputs[0].name
    inputs = {key: tuple(_bindings(op.inputs[key], blobs, name)) for key in sorted(op.inputs, key=_rank)}
    # The compressed constants of iOS 16 have their parameters as attributes.
    attributes = {
        key: (_constant(value, blobs, name),) for key, value in sorted(op.attributes.items()) if key != "name"
    }
    empty = [key for key, bindings in inputs.items() if not bindings]
    if empty:
        raise ValueError(f"{name}: {empty[0]!r} has no argument")
    outputs = tuple((value.name, _type(value.type)) for value in op.outputs)
    return Operation(op.type, {**attributes, **inputs}, outputs, bool(op.blocks))


def _bindings(argument: Message, blobs: Blobs, name: str) -> Iterator[Binding]:
    for binding in argument.arguments:
        yield binding.name if binding.WhichOneof("binding") == "name" else _constant(binding.value, blobs, name)


def _type(value_type: Message) -> ValueType:
    kind = value_type.WhichOneof("type")
    if kind != "tensorType":
        return ValueType((kind or "nothing").removesuffix("Type"), ())
    tensor, types = value_type.tensorType, core_ml("MIL_pb2").DataType
    dtype = types.Name(tensor.dataType).lower() if tensor.dataType in types.values() else f"type {tensor.dataType}"
    sizes = (axis.constant.size if axis.WhichOneof("dimension") == "constant" else None for axis in tensor.dimensions)
    return ValueType(dtype, tuple(sizes), any(axis.unknown.variadic for axis in tensor.dimensions))


def _constant(value: Message, blobs: Blobs, name: str) -> Constant:
    value_type = _type(value.type)
    shape = tuple(side for side in value_type.shape if side is not None)
    if shape != value_type.shape:
        raise ValueError(f"{name}: a constant of an open shape")
    count = prod(shape)
    stored = 0
    try:
        kind = value.immediateValue.WhichOneof("value")
        if value.WhichOneof("value") == "blobFileValue":
            content = blobs(value.blobFileValue.fileName)
            flat = read_blob(content, value.blobFileValue.offset, value_type.dtype, count)
            stored = packed_bytes(value_type.dtype, count)
        elif kind == "tensor":
            flat = _immediate(value.immediateValue.tensor, value_type.dtype, count)
        elif kind == "list":  # for example the labels of classify
            members = [_constant(each, blobs, name).value for each in value.immediateValue.list.values]
            return Constant(value_type, np.array(members), 0)
        else:
            raise ValueError(f"a constant that is {kind or 'nothing'}")
        array = flat.reshape(shape)
    except Unsupported as error:
        raise Unsupported(f"{name}: {error}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None
    return Constant(value_type, array if array.ndim else array.item(), stored)


def _immediate(tensor: Message, dtype: str, count: int) -> npt.NDArray[np.generic]:
    kind = tensor.WhichOneof("value")
    if kind is None:
        raise ValueError("a constant without elements")
    values = getattr(tensor, kind).values
    if kind == "bytes":
        return unpack(values, dtype, count)
    field, numpy_type = _IMMEDIATE.get(dtype, ("bytes", None))
    if kind != field:
        raise ValueError(f"{kind} for an array of {dtype}")
    if len(values) != count:
        raise ValueError(f"{len(values)} elements, not {count}")
    return np.array(values, dtype=numpy_type)
