"""LiteRT on the CPU with XNNPACK, for TFLite files."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from evim_deploy.common.host import describe_host
from latency.engines import Array, Job, ProfiledOperation
from runtimes.litert.quantised import dequantise, quantise


def version() -> str:
    import ai_edge_litert.interpreter  # noqa: F401, a cold start excludes the import

    return importlib.metadata.version("ai-edge-litert")


class LitertRunner:
    """A TFLite file with its images in the input tensor. TFLite's tensors are channels-last.

    Integer inputs and outputs are converted outside the timed prediction.
    """

    mode = ""

    def __init__(self, job: Job) -> None:
        from ai_edge_litert.interpreter import Interpreter

        threads = job.threads or describe_host().cores  # the default is a single thread
        self._interpreter: Any = Interpreter(job.source, num_threads=threads)
        self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        self._interpreter.set_tensor(
            image["index"],
            np.ascontiguousarray(quantise(job.images().transpose(0, 2, 3, 1), image["dtype"], image["quantization"])),
        )
        self._output = self._interpreter.get_output_details()[0]

    def predict(self) -> None:
        self._interpreter.invoke()

    def outputs(self) -> Array:
        output = dequantise(self._interpreter.get_tensor(self._output["index"]), self._output["quantization"])
        return output.transpose(0, 3, 1, 2) if output.ndim == 4 else output

    def profile(self, count: int) -> list[ProfiledOperation]:
        """Empty: LiteRT's profiler is not in its Python package."""
        return []


open_runner = LitertRunner
