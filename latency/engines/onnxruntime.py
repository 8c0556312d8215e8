"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latency.breakdown import OTHER, classify_onnxruntime
from latency.engines import Array, Job, ProfiledOperation

_MICROSECOND = 1e-6
_OF_A_NODE = "_kernel_time"
_OF_A_FUSION = re.compile(r"_token_\d+$")
"""What ONNX Runtime adds to the name of an operation that it makes of several."""

_OPEN_AXES = ("batch", "height", "width")
"""As our files name what they leave open: settled, shapes are known when the session plans its memory."""


def version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


class OrtRunner:
    """An ONNX file, its images and its answers in place."""

    mode = ""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._images = job.images()
        self._session = self._open(profiled=None)
        first = self._session.get_inputs()[0]
        self._input = first.name
        if first.type == "tensor(float16)":
            self._images = self._images.astype(np.float16)
        self._output = self._session.get_outputs()[0].name
        self._answer = self._images

    def predict(self) -> None:
        (self._answer,) = self._session.run([self._output], {self._input: self._images})

    def outputs(self) -> Array:
        return np.asarray(self._answer, dtype=np.float32)

    def profile(self, count: int) -> list[ProfiledOperation]:
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(profiled=Path(folder) / "ort")
            for _ in range(count + 1):
                session.run([self._output], {self._input: self._images})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return _operations(events, count, _kernels(self._job.source))

    def _open(self, profiled: Path | None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        options.intra_op_num_threads = self._job.threads or 0
        options.inter_op_num_threads = 1
        for axis, length in zip(_OPEN_AXES, (self._job.batch, *self._job.shape[1:]), strict=True):
            options.add_free_dimension_override_by_name(axis, length)
        if profiled is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profiled)
        return onnxruntime.InferenceSession(self._job.source, options, providers=["CPUExecutionProvider"])


open_runner = OrtRunner


def _kernels(source: str) -> dict[str, list[int]]:
    """Shape of the kernel of each convolution of integers by its name, which the profile does not tell."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    decoded = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name: shapes[decoded[node.input[1]]]
        for node in graph.node
        if node.op_type == "Conv" and decoded.get(node.input[1]) in shapes
    }


def _operations(events: list[dict[str, Any]], count: int, kernels: Mapping[str, list[int]]) -> list[ProfiledOperation]:
    """Kernels of all predictions but the first, and as an operation what of each prediction lies between them."""
    runs = [event for event in events if event["name"] == "model_run"][1:]
    begun = runs[0]["ts"]
    seconds: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_OF_A_NODE) and event["ts"] >= begun:
            details = event["args"]
            shapes = [list(shape) for each in details["input_type_shape"] for shape in each.values()]
            name = event["name"].removesuffix(_OF_A_NODE)
            kernel = kernels.get(_OF_A_FUSION.sub("", name), [])
            key = name, classify_onnxruntime(details["op_name"], shapes, kernel)
            seconds[key] += event["dur"] * _MICROSECOND
            calls[key] += 1
    between = sum(run["dur"] for run in runs) * _MICROSECOND - seconds.total()
    found = [ProfiledOperation(*key, seconds[key] / count, round(calls[key] / count)) for key in seconds]
    return [*found, ProfiledOperation("between operations", OTHER, max(between, 0.0) / count, 1)]
