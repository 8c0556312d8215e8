"""Core ML itself, the engine of Core ML packages on macOS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.common.errors import Damaged
from evim_deploy.common.system_errors import problem_of
from evim_deploy.formats.coreml import interface, one_line
from runtimes import Array
from runtimes.coreml_interface import feed, probabilities
from runtimes.modes import Mode

if TYPE_CHECKING:
    import coremltools

_COMPUTE_UNITS = {
    Mode.ALL: "ALL",
    Mode.CPU_ONLY: "CPU_ONLY",
    Mode.CPU_AND_GPU: "CPU_AND_GPU",
    Mode.CPU_AND_NEURAL_ENGINE: "CPU_AND_NE",
}
"""Names in coremltools."""


class CoremlSession:
    """A package in Core ML; a classifier has one output, ``probabilities``, in the order of the labels."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, model: coremltools.models.MLModel, function: str | None = None) -> None:
        self._path = path
        self._model = model
        description = model.get_spec().description
        self.metadata: Mapping[str, str] = dict(description.metadata.userDefined)
        signature = interface(description, function or description.defaultFunctionName)
        self._input = signature.input[0]
        self._probabilities = signature.predictedProbabilitiesName

    def run(self, image: Array) -> dict[str, Array]:
        outputs = self._model.predict({self._input.name: feed(self._input, image)})
        if self._probabilities:
            return {"probabilities": probabilities(outputs[self._probabilities], self.metadata, self._path)}
        return {name: np.asarray(array, dtype=np.float32) for name, array in outputs.items()}


@contextmanager
def open_session(path: Path, mode: Mode, function: str | None = None) -> Iterator[CoremlSession]:
    """Load an .mlpackage for the compute units of a mode; by default its default function.

    Raises:
        BadInput: Core ML cannot read the package, or it has no such function.
    """
    import coremltools

    units = getattr(coremltools.ComputeUnit, _COMPUTE_UNITS[mode])
    try:
        model = coremltools.models.MLModel(str(path), compute_units=units, function_name=function)
    except (RuntimeError, ValueError, OSError) as error:
        raise problem_of(error) or Damaged(f"Core ML rejects {path}: {one_line(error)}") from None
    yield CoremlSession(path, model, function)
