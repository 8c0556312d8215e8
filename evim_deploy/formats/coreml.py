"""An .mlpackage read back from disk: its description, its program and the program's weights.

A package is a folder: ``Manifest.json`` names the item that is the model, a ``Model`` message
(coremltools, mlmodel/format/Model.proto) with the program in it; the arrays lie in files beside.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evim_deploy.common.errors import BadInput, Damaged
from evim_deploy.common.json_documents import parse_json
from evim_deploy.formats.mil import Function, read_functions
from evim_deploy.formats.model_file import Unsupported, unsupported_error
from evim_deploy.formats.paths import is_inside
from evim_deploy.formats.protobuf import core_ml

MAIN = "main"
"""The function of a package that has one alone."""

_MODEL_FOLDER = "@model_path/"


@dataclass(frozen=True)
class Package:
    """What is in an .mlpackage.

    Attributes:
        spec: The ``Model`` message.
        functions: Of its program, by name.
        default_function: The one that runs where none is named.
    """

    spec: Any
    functions: Mapping[str, Function]
    default_function: str

    def interface(self, function: str) -> Any:
        """Inputs, outputs and, of a classifier, predicted features, as a description message has them."""
        return interface(self.spec.description, function)

    @property
    def metadata(self) -> Mapping[str, str]:
        return dict(self.spec.description.metadata.userDefined)


def read_package(path: Path) -> Package:
    """Read an ML Program package and all of its weights.

    Raises:
        BadInput: A file of it is missing or damaged, it has constants of a type that is not known, or it holds no ML
            Program.
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


def read_spec(path: Path) -> Any:
    """The ``Model`` message of a package, without its weights.

    Raises:
        BadInput: It is missing or damaged.
    """
    from google.protobuf.message import DecodeError

    try:
        return core_ml("Model_pb2").Model.FromString(_read(path, model_path(path)))
    except DecodeError:
        raise Damaged(f"{path} is damaged: its model cannot be parsed.") from None


def interface(description: Any, function: str) -> Any:
    """Inputs and outputs of a function: its own message of a model's description, or that where there is none."""
    return next((each for each in description.functions if each.name == function), description)


def model_path(path: Path) -> Path:
    """The file of the ``Model`` message in a package.

    Raises:
        BadInput: There is no package, or its manifest is missing or damaged.
    """
    if path.is_file():
        raise BadInput(f"{path} is a file, and an .mlpackage is a folder.", "Name the folder.")
    try:
        manifest = parse_json(_read(path, path / "Manifest.json"))
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        return _member(path, path / "Data" / item)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{path} is damaged: its Manifest.json names no model in it.") from None


def one_line(text: object) -> str:
    """Text in which names out of a damaged file may stand, fit for a message."""
    return "".join(each if each.isprintable() else " " for each in str(text))


def _member(path: Path, member: Path) -> Path:
    """A file of a package.

    Raises:
        ValueError: It lies outside of the package, or has a name that no file has.
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
