"""A Core ML program as it stands in its package: functions of operations over named, typed values.

Source: coremltools, mlmodel/format/MIL.proto. Nothing is interpreted here, but every array of
weights is read from the package's own files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.contents.blob import read_blob, unpack

Scalar = str | bool | int | float
Blobs = Callable[[str], bytes]
"""Content of a file of weights, by the name that the program has for it."""

_BYTES = ("float16", "int8", "uint8", "int4", "uint4", "uint1", "uint2", "uint3", "uint6", "uint32")
_NUMPY = {"bool": np.bool_, "float64": np.float64, "float32": np.float32, "string": np.str_}


@dataclass(frozen=True)
class ValueType:
    """An element type by numpy's name for it (also ``string``, ``int4`` ...), and a shape; None for an open axis.

    A list, a dictionary or a state has its kind as dtype, and no shape.
    """

    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float16", "float32", "float64", "bfloat16")


@dataclass(frozen=True)
class Constant:
    """A value that stands in the program; an array of rank 0 is a scalar of Python's.

    Attributes:
        type: Its type.
        value: Its value.
        stored_bytes: What it takes in a file of weights; 0 where it stands in the program itself.
    """

    type: ValueType
    value: npt.NDArray[Any] | Scalar
    stored_bytes: int


Binding = str | Constant
"""What a parameter is given: the name of a value, or a constant."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        type: As the specification spells it: ``conv``, ``layer_norm`` ...
        inputs: What each parameter is given; several for a parameter such as concat's ``values``.
        outputs: Names and types.
        has_blocks: Whether it is control flow, with operations of its own inside.
    """

    type: str
    inputs: Mapping[str, tuple[Binding, ...]]
    outputs: tuple[tuple[str, ValueType], ...]
    has_blocks: bool

    @property
    def name(self) -> str:
        """That of its first output."""
        return self.outputs[0][0]


@dataclass(frozen=True)
class Function:
    """A function of a program, its constants apart.

    Attributes:
        inputs: Type of each input.
        constants: By the names of the values that they are.
        operations: In the order of their computation, ``const`` left out.
        outputs: Names of the values that it returns.
    """

    inputs: Mapping[str, ValueType]
    constants: Mapping[str, Constant]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


def read_functions(program: Any, blobs: Blobs) -> dict[str, Function]:
    """The functions of a program, a ``MILSpec.Program``.

    Raises:
        ValueError: It is damaged, saying where.
    """
    return {name: _function(name, function, blobs) for name, function in program.functions.items()}


def _function(name: str, function: Any, blobs: Blobs) -> Function:
    if function.opset not in function.block_specializations:
        raise ValueError(f"function {name} has no operations for its {function.opset!r}")
    block = function.block_specializations[function.opset]
    constants: dict[str, Constant] = {}
    operations = []
    for op in block.operations:
        if not op.outputs:
            raise ValueError(f"function {name} has an operation {op.type!r} without an output")
        if op.type == "const":
            constants[op.outputs[0].name] = _constant(op.attributes["val"], blobs, op.outputs[0].name)
        else:
            operations.append(_operation(op, blobs))
    inputs = {value.name: _type(value.type) for value in function.inputs}
    return Function(inputs, constants, tuple(operations), tuple(block.outputs))


def _operation(op: Any, blobs: Blobs) -> Operation:
    name = op.outputs[0].name
    inputs = {key: tuple(_bindings(argument, blobs, name)) for key, argument in op.inputs.items()}
    # The compressed constants of iOS 16 have their parameters as attributes.
    attributes = {key: (_constant(value, blobs, name),) for key, value in op.attributes.items() if key != "name"}
    outputs = tuple((value.name, _type(value.type)) for value in op.outputs)
    return Operation(op.type, {**attributes, **inputs}, outputs, bool(op.blocks))


def _bindings(argument: Any, blobs: Blobs, name: str) -> Iterator[Binding]:
    for binding in argument.arguments:
        yield binding.name if binding.WhichOneof("binding") == "name" else _constant(binding.value, blobs, name)


def _type(value_type: Any) -> ValueType:
    from coremltools.proto import MIL_pb2

    kind = value_type.WhichOneof("type")
    if kind != "tensorType":
        return ValueType((kind or "nothing").removesuffix("Type"), ())
    tensor = value_type.tensorType
    known = MIL_pb2.DataType.values()
    dtype = MIL_pb2.DataType.Name(tensor.dataType).lower() if tensor.dataType in known else str(tensor.dataType)
    sizes = (axis.constant.size if axis.WhichOneof("dimension") == "constant" else None for axis in tensor.dimensions)
    return ValueType(dtype, tuple(sizes))


def _constant(value: Any, blobs: Blobs, name: str) -> Constant:
    value_type = _type(value.type)
    shape = tuple(side for side in value_type.shape if side is not None)
    if shape != value_type.shape:
        raise ValueError(f"{name}: a constant of an open shape")
    count = prod(shape)
    stored = 0
    try:
        if value.WhichOneof("value") == "blobFileValue":
            content = blobs(value.blobFileValue.fileName)
            flat = read_blob(content, value.blobFileValue.offset, value_type.dtype, count)
            stored = flat.nbytes
        elif value.immediateValue.WhichOneof("value") == "tensor":
            flat = _immediate(value.immediateValue.tensor, value_type.dtype, count)
        else:  # a list or dictionary: what classify has for its labels, for one
            flat = np.array([_constant(each, blobs, name).value for each in _members(value.immediateValue)])
            return Constant(value_type, flat, 0)
        array = flat.reshape(shape)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Constant(value_type, array if array.ndim else array.item(), stored)


def _members(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value") or "list").values


def _immediate(tensor: Any, dtype: str, count: int) -> npt.NDArray[Any]:
    kind = tensor.WhichOneof("value")
    if kind is None:
        raise ValueError("a constant without a value")
    values = getattr(tensor, kind).values
    if kind == "bytes":
        if dtype not in _BYTES:
            raise ValueError(f"bytes for a {dtype}")
        return unpack(values, dtype, count)
    array = np.array(values, dtype=_NUMPY.get(dtype, dtype))
    return np.broadcast_to(array, (count,)) if array.size == 1 else array
