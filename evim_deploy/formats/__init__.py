"""What is in a file of a format, read back from disk: one module a format, and one common form.

``read(path)`` gives any ONNX, Core ML or TFLite file, whoever made it, as :class:`Contents`:
functions of operations over named, typed values. Nothing is executed, and of the weights only
their sizes are kept; what a file leaves to its engine is not guessed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from evim_deploy.common.errors import BadInput, NotInstalled

Axis = int | str
"""Length of an axis; an open one is a word: its name, ``least..greatest``, ``one|another``, or ``?``."""

Scalar = str | bool | int | float
Parameter = Scalar | tuple[Scalar, ...]

SMALL = 64
"""Constants of at most so many elements are kept by value: axes, paddings, shapes."""

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


class NotKnown(ValueError):
    """A type, or a version, that is not known here: the file may be newer than this reader."""


def not_known(path: Path, what: object) -> BadInput:
    """The error of a file with something that is not known."""
    cause = f"{path} has what is not known here: {what}."
    return BadInput(cause, "Update evim-deploy; if that does not help, the file is damaged: export it again.")


@dataclass(frozen=True, kw_only=True)
class Value:
    """What goes into or comes out of an operation.

    Attributes:
        name: Its name in the file.
        dtype: Element type by numpy's name, or ``int4``, ``string``, ``image``, ``dictionary`` and the like.
        shape: Its axes; None where the file does not say even how many.
        is_constant: Whether the file holds its elements.
        stored_bytes: What those take in the file.
        elements: They themselves, flat, where it is a constant of few.
    """

    name: str
    dtype: str
    shape: tuple[Axis, ...] | None
    is_constant: bool = False
    stored_bytes: int = 0
    elements: tuple[Scalar, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation.

    Attributes:
        type: As the format spells it: ``conv``, ``Conv``, ``CONV_2D``.
        name: Its own, or that of its first output.
        inputs: In the format's order; an optional one that is not given is left out.
        outputs: Likewise.
        parameters: Attributes and options, by the names that the format has for them.
        input_names: What the format calls each input, in their order; empty where it counts them.
    """

    type: str
    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    input_names: tuple[str, ...] = ()

    def input(self, name: str) -> Value | None:
        """The first input of a name; None where there is none, or where it is one of the parameters."""
        return next((value for key, value in zip(self.input_names, self.inputs, strict=False) if key == name), None)

    @property
    def values(self) -> tuple[Value, ...]:
        """Inputs and outputs that are computed, not stored."""
        return tuple(value for value in (*self.inputs, *self.outputs) if not value.is_constant)


@dataclass(frozen=True)
class Function:
    """Operations in the order of their computation; a subgraph of control flow is a function too."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in a file.

    Attributes:
        format: ``onnx``, ``coreml`` or ``tflite``.
        kind: The format's own name for this sort of file, with its version.
        producer: What made it, as far as it says.
        description: For people; may be empty.
        metadata: By key; what is not text is told by its size.
        inputs: As a user meets them.
        outputs: Likewise.
        functions: The default one first.
    """

    format: str
    kind: str
    producer: str
    description: str
    metadata: Mapping[str, str]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    functions: tuple[Function, ...]

    @property
    def operations(self) -> Counter[str]:
        """How many operations there are of each type, in all functions."""
        return Counter(operation.type for function in self.functions for operation in function.operations)


class _Reader(Protocol):
    def read(self, path: Path, infer_shapes: bool) -> Contents: ...


@dataclass(frozen=True, kw_only=True)
class Suffix:
    """One row of the table of files that can be read: what reads them, what must be installed, and by which extra."""

    suffix: str
    module: str
    package: str
    imported: str
    extra: str


SUFFIXES = {
    row.suffix: row
    for row in (
        Suffix(suffix=".onnx", module="onnx", package="onnx", imported="onnx", extra="onnx"),
        Suffix(suffix=".tflite", module="tflite", package="ai-edge-litert", imported="ai_edge_litert", extra="tflite"),
        Suffix(suffix=".mlpackage", module="mlmodel", package="coremltools", imported="coremltools", extra="coreml"),
        Suffix(suffix=".mlmodel", module="mlmodel", package="coremltools", imported="coremltools", extra="coreml"),
    )
}


def read(path: Path, infer_shapes: bool = False) -> Contents:
    """What is in a file, by its suffix.

    Args:
        path: The file, or a package's folder.
        infer_shapes: Whether to infer the shapes of values that an ONNX file does not tell, which takes a
            third of a second; the other formats tell them all.

    Raises:
        BadInput: There is no such file, it or something in it is of no kind that is known here, or it is damaged or
            incomplete.
        NotInstalled: The package that knows its format is missing.
    """
    row = SUFFIXES.get(path.suffix.lower())
    if row is None:
        raise BadInput(f"{path} is no model file that is known here.", f"Name one that ends in {', '.join(SUFFIXES)}.")
    try:
        if not path.exists():
            raise BadInput(f"There is no file {path}.", "Check the path.")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if importlib.util.find_spec(row.imported) is None:
        raise NotInstalled(
            f"Reading {path.name} needs {row.package}, which is not installed.",
            f'pip install "evim-deploy[{row.extra}]"',
        )
    return cast("_Reader", importlib.import_module(f"evim_deploy.formats.{row.module}")).read(path, infer_shapes)


def is_inside(folder: Path, file: Path) -> bool:
    """Whether a path that a model file names lies in a folder.

    False for a path that the system refuses, such as one with a null byte or a circle of links.
    """
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def file_content(path: Path) -> bytes:
    """All of a file.

    Raises:
        BadInput: It is missing, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BadInput(f"{path} is no file.", "Check the path.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
