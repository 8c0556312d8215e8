"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from latency.engines import Array, Job, ProfiledOperation
from latency.environment import describe_host


def version() -> str:
    import ai_edge_litert.interpreter  # noqa: F401, what a cold start does not count

    return importlib.metadata.version("ai-edge-litert")


class LitertRunner:
    """A TFLite file with its images in its input; maps are channels-last inside."""

    def __init__(self, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        threads = job.threads or describe_host().cores  # without a number it would take one
        self._interpreter: Any = Interpreter(job.source, num_threads=threads)
        self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(image["index"], np.ascontiguousarray(job.images().transpose(0, 2, 3, 1)))
        self._output = self._interpreter.get_output_details()[0]["index"]

    def predict(self) -> None:
        self._interpreter.invoke()

    def outputs(self) -> Array:
        answer: Array = self._interpreter.get_tensor(self._output)
        return answer.transpose(0, 3, 1, 2) if answer.ndim == 4 else answer

    def profile(self, count: int) -> list[ProfiledOperation]:
        """Nothing: LiteRT's profiler is not a part of its Python package."""
        return []


open_runner = LitertRunner
