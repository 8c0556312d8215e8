"""LiteRT on the CPU with XNNPACK, for TFLite files."""

from __future__ import annotations

import importlib.metadata
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from evim_deploy.common.host import describe_host
from latency.engines import Array, Job, ProfiledOperation


def version() -> str:
    import ai_edge_litert.interpreter  # noqa: F401, a cold start excludes the import

    return importlib.metadata.version("ai-edge-litert")


class _Tensor(TypedDict):
    """The details of a tensor that LiteRT reports and that this module reads."""

    dtype: type[np.generic]
    quantization: tuple[float, int]


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
        self._interpreter.set_tensor(image["index"], _quantise(job.images().transpose(0, 2, 3, 1), image))
        self._output = self._interpreter.get_output_details()[0]

    def predict(self) -> None:
        self._interpreter.invoke()

    def outputs(self) -> Array:
        output = _dequantise(self._interpreter.get_tensor(self._output["index"]), self._output)
        return output.transpose(0, 3, 1, 2) if output.ndim == 4 else output

    def profile(self, count: int) -> list[ProfiledOperation]:
        """Empty: LiteRT's profiler is not in its Python package."""
        return []


open_runner = LitertRunner


def _quantise(images: Array, tensor: _Tensor) -> npt.NDArray[np.generic]:
    """Convert images to the dtype of a tensor, quantised if it holds integers."""
    if np.issubdtype(tensor["dtype"], np.floating):
        return np.ascontiguousarray(images, tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(np.dtype(tensor["dtype"]).name)
    return np.ascontiguousarray((images / scale + zero_point).round().clip(limits.min, limits.max), tensor["dtype"])


def _dequantise(values: npt.NDArray[np.generic], tensor: _Tensor) -> Array:
    """Convert values of a tensor to float32, dequantised if they are integers."""
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    scale, zero_point = tensor["quantization"]
    return np.float32(scale) * (values.astype(np.float32) - np.float32(zero_point))
