"""Read a model file in the format of its suffix.

Nothing is executed, weights are represented by their sizes alone, and properties that a file leaves to its engine are
not guessed.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from evim_deploy.common.errors import BadInput, NotInstalled
from evim_deploy.formats.model_file import ModelFile


class _Reader(Protocol):
    def read(self, path: Path, infer_shapes: bool) -> ModelFile: ...


@dataclass(frozen=True, kw_only=True)
class Suffix:
    """A suffix of model files: our module that reads them, the package it imports, and the extra that installs it."""

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


def read(path: Path, infer_shapes: bool = False) -> ModelFile:
    """Read any ONNX, Core ML or TFLite file, whichever tool wrote it.

    Args:
        path: The file, or a package's folder.
        infer_shapes: Whether to infer missing shapes of values in an ONNX file, which takes a third of a second; the
            other formats store all shapes.

    Raises:
        BadInput: The file is missing, of an unknown kind, damaged or incomplete, or has an unsupported type.
        NotInstalled: The package that reads its format is missing.
    """
    row = SUFFIXES.get(path.suffix.lower())
    if row is None:
        raise BadInput(f"{path} has an unknown suffix for a model file.", f"Use one of {', '.join(SUFFIXES)}.")
    try:
        if not path.exists():
            raise BadInput(f"File not found: {path}.", "Check the path.")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if importlib.util.find_spec(row.imported) is None:
        raise NotInstalled(
            f"Reading {path.name} needs {row.package}, which is not installed.",
            f'pip install "evim-deploy[{row.extra}]"',
        )
    return cast("_Reader", importlib.import_module(f"evim_deploy.formats.{row.module}")).read(path, infer_shapes)
