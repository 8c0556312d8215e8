"""Core ML itself, where there is one: on macOS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy.contents.coreml import interface, one_line
from evim_deploy.errors import Damaged
from evim_deploy.machine import problem_of
from runtimes import Array
from runtimes.classes import probabilities

_UNITS = {
    "all": "ALL",
    "cpuOnly": "CPU_ONLY",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuAndNeuralEngine": "CPU_AND_NE",
}


class CoremlSession:
    """A package in Core ML; a classifier's dictionary comes back as ``probabilities`` in the labels' order."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, model: Any, function: str | None = None) -> None:
        self._path = path
        self._model = model
        description = model.get_spec().description
        self.metadata: Mapping[str, str] = dict(description.metadata.userDefined)
        own = interface(description, function or description.defaultFunctionName)
        self._input = own.input[0]
        self._probabilities = own.predictedProbabilitiesName

    def run(self, image: Array) -> dict[str, Array]:
        outputs = self._model.predict({self._input.name: self._feed(image)})
        if self._probabilities:
            return {"probabilities": probabilities(outputs[self._probabilities], self.metadata, self._path)}
        return {name: np.asarray(array, dtype=np.float32) for name, array in outputs.items()}

    def _feed(self, image: Array) -> Any:
        if self._input.type.WhichOneof("Type") != "imageType":
            return image
        from PIL import Image

        return Image.fromarray(image[0].transpose(1, 2, 0).round().astype(np.uint8))  # (H, W, 3)


@contextmanager
def open_session(path: Path, mode: str, function: str | None = None) -> Iterator[CoremlSession]:
    """Load an .mlpackage for compute units, by their names in Swift; its default function unless given.

    Raises:
        BadInput: Core ML cannot read it, or it has no such function.
    """
    import coremltools

    units = getattr(coremltools.ComputeUnit, _UNITS[mode])
    try:
        model = coremltools.models.MLModel(str(path), compute_units=units, function_name=function)
    except (RuntimeError, ValueError, OSError) as error:
        raise problem_of(error) or Damaged(f"Core ML does not take {path}: {one_line(error)}") from None
    yield CoremlSession(path, model, function)
