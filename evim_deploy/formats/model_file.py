"""The common form of a model file: functions of operations over named, typed values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evim_deploy.common.errors import BadInput

Axis = int | str
"""Length of an axis; for an open axis its name, ``min..max``, ``one|another``, or ``?``."""

Scalar = str | bool | int | float
Parameter = Scalar | tuple[Scalar, ...]

SMALL = 64
"""Largest number of elements of a constant whose values are read: axes, paddings, shapes."""

PLAIN = frozenset(
    [
        "bool",
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
        "float16",
        "float32",
        "float64",
    ]
)
"""Element types that numpy has too."""


class Unsupported(ValueError):
    """An unknown type or version: the file may be newer than this reader."""


def unsupported_error(path: Path, reason: object) -> BadInput:
    """The error for a file with an unknown type or version."""
    cause = f"{path} has an unsupported type or version: {reason}."
    return BadInput(cause, "Update evim-deploy; if that does not help, the file is damaged: export it again.")


@dataclass(frozen=True, kw_only=True)
class Value:
    """An input or output of an operation.

    Attributes:
        name: Its name in the file.
        dtype: Element type by numpy's name, or ``int4``, ``string``, ``image``, ``dictionary`` and the like.
        shape: Its axes; None if the file does not give the number of axes.
        is_constant: Whether the file holds its elements.
        stored_bytes: Size of its elements in the file, bytes.
        elements: The elements, flat, if it is a small constant.
    """

    name: str
    dtype: str
    shape: tuple[Axis, ...] | None
    is_constant: bool = False
    stored_bytes: int = 0
    elements: tuple[Scalar, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileOperation:
    """One operation of a file.

    Attributes:
        type: Its type in the format's spelling: ``conv``, ``Conv``, ``CONV_2D``.
        name: Its own name, or that of its first output.
        inputs: In the format's order; missing optional inputs are left out.
        outputs: In the format's order.
        parameters: Attributes and options, by the format's names.
        input_names: The format's name of each input, in their order; empty if the format numbers them.
    """

    type: str
    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()

    def input(self, name: str) -> Value | None:
        """The first input of a name; None if it is missing, or one of the parameters."""
        return next((value for key, value in zip(self.input_names, self.inputs, strict=False) if key == name), None)

    @property
    def values(self) -> tuple[Value, ...]:
        """Computed inputs and outputs, without stored constants."""
        return tuple(value for value in (*self.inputs, *self.outputs) if not value.is_constant)


@dataclass(frozen=True)
class FileFunction:
    """Operations in execution order; a subgraph of control flow is a function too."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operations: tuple[FileOperation, ...]


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The content of a model file.

    Attributes:
        format: ``onnx``, ``coreml`` or ``tflite``.
        kind: The format's own name for this kind of file, with its version.
        producer: The tool that wrote it, if the file names it.
        description: For people; may be empty.
        metadata: By key; binary values are replaced by their size.
        inputs: The file's interface.
        outputs: The file's interface.
        functions: The default function first.
    """

    format: str
    kind: str
    producer: str
    description: str
    metadata: Mapping[str, str]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    functions: tuple[FileFunction, ...]

    @property
    def operations(self) -> Counter[str]:
        """Number of operations of each type, in all functions."""
        return Counter(operation.type for function in self.functions for operation in function.operations)
