"""Read an .mlpackage: its description, its program and the program's weights.

A package is a folder: ``Manifest.json`` names the item that is the model, a ``Model`` message (coremltools,
mlmodel/format/Model.proto) that contains the program; arrays are in files beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.common.errors import BadInput, Damaged
from evim_deploy.common.json_documents import parse_json
from evim_deploy.formats.mil import Function, read_functions
from evim_deploy.formats.model_file import Unsupported, unsupported_error
from evim_deploy.formats.paths import is_inside
from evim_deploy.formats.protobuf import core_ml

if TYPE_CHECKING:
    from google.protobuf.message import Message

MAIN = "main"
"""Name of the function of a package with a single function."""

LONGEST_AXIS = 16384
"""Longest axis on the Neural Engine of the A13 to A15 and M1 to M3; it is 65536 on later chips."""

_MODEL_FOLDER = "@model_path/"


@dataclass(frozen=True)
class Package:
    """The content of an .mlpackage.

    Attributes:
        spec: The ``Model`` message.
        functions: The program's functions by name.
        default_function: Name of the function that runs by default.
    """

    spec: Message
    functions: Mapping[str, Function]
    default_function: str

    def interface(self, function: str) -> Message:
        """Description message of a function: inputs, outputs and, for a classifier, predicted features."""
        return interface(self.spec.description, function)

    @property
    def metadata(self) -> Mapping[str, str]:
        return dict(self.spec.description.metadata.userDefined)


def read_package(path: Path) -> Package:
    """Read an ML Program package and all of its weights.

    Raises:
        BadInput: A file of it is missing or damaged, a constant has an unknown type, or it is not an ML Program.
    """
    spec_path = model_path(path)
    spec = read_spec(path)
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise BadInput(
            f"{path} holds a Core ML {kind or 'nothing'}, not an ML Program.", "Convert it to an ML Program."
        )

    @functools.cache
    def blobs(name: str) -> bytes:
        return _read(path, _member(path, spec_path.parent / name.removeprefix(_MODEL_FOLDER)))

    try:
        functions = read_functions(spec.mlProgram, blobs)
    except Unsupported as error:
        raise unsupported_error(path, one_line(error)) from None
    except ValueError as error:
        raise Damaged(f"{path} is damaged: {one_line(error)}.") from None
    default = spec.description.defaultFunctionName or MAIN
    if default not in functions:
        raise Damaged(f"{path} is damaged: it has no function {default!r}.")
    return Package(spec, functions, default)


def read_spec(path: Path) -> Message:
    """The ``Model`` message of a package, without its weights.

    Raises:
        BadInput: It is missing or damaged.
    """
    from google.protobuf.message import DecodeError

    try:
        return core_ml("Model_pb2").Model.FromString(_read(path, model_path(path)))
    except DecodeError:
        raise Damaged(f"{path} is damaged: its model cannot be parsed.") from None


def interface(description: Message, function: str) -> Message:
    """Description message of a function's inputs and outputs; the model's own if the function has none."""
    return next((each for each in description.functions if each.name == function), description)


def model_path(path: Path) -> Path:
    """The file of the ``Model`` message in a package.

    Raises:
        BadInput: It is not a package, or its manifest is missing or damaged.
    """
    if path.is_file():
        raise BadInput(f"{path} is a file, but an .mlpackage is a folder.", "Name the folder.")
    try:
        manifest = parse_json(_read(path, path / "Manifest.json"))
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        return _member(path, path / "Data" / item)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{path} is damaged: its Manifest.json names no model in it.") from None


def one_line(text: object) -> str:
    """Text for a message, with unprintable characters of a damaged file replaced."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def _member(path: Path, member: Path) -> Path:
    """A file of a package.

    Raises:
        ValueError: It is outside the package, or its name is not valid for a file.
    """
    if not is_inside(path, member):
        raise ValueError(f"it names a file outside of itself, {str(member)!r}")
    return member


def _read(path: Path, member: Path) -> bytes:
    try:
        return member.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Damaged(f"{path} is incomplete: it has no {one_line(member.name)}.") from None
    except OSError as error:
        raise BadInput(f"{member} cannot be read: {error.strerror}.", "Check its permissions.") from None
