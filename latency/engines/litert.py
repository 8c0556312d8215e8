"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.common.host import describe_host
from latency.engines import Array, Job, ProfiledOperation


def version() -> str:
    import ai_edge_litert.interpreter  # noqa: F401, what a cold start does not count

    return importlib.metadata.version("ai-edge-litert")


class LitertRunner:
    """A TFLite file with its images in its input; maps are channels-last inside.

    What it takes and gives in integers is converted before and after a prediction, which is no part of its time.
    """

    mode = ""

    def __init__(self, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        threads = job.threads or describe_host().cores  # without a number it would take one
        self._interpreter: Any = Interpreter(job.source, num_threads=threads)
        self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(image["index"], _as_taken(job.images().transpose(0, 2, 3, 1), image))
        self._output = self._interpreter.get_output_details()[0]

    def predict(self) -> None:
        self._interpreter.invoke()

    def outputs(self) -> Array:
        answer = _as_meant(self._interpreter.get_tensor(self._output["index"]), self._output)
        return answer.transpose(0, 3, 1, 2) if answer.ndim == 4 else answer

    def profile(self, count: int) -> list[ProfiledOperation]:
        """Nothing: LiteRT's profiler is not a part of its Python package."""
        return []


open_runner = LitertRunner


def _as_taken(images: Array, tensor: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Values as a tensor holds them, codes where these are integers."""
    if np.issubdtype(tensor["dtype"], np.floating):
        return np.ascontiguousarray(images, tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.ascontiguousarray((images / scale + zero_point).round().clip(limits.min, limits.max), tensor["dtype"])


def _as_meant(found: npt.NDArray[Any], tensor: Mapping[str, Any]) -> Array:
    """What the values in a tensor stand for."""
    if np.issubdtype(found.dtype, np.floating):
        return found.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return np.float32(scale) * (found.astype(np.float32) - np.float32(zero_point))
