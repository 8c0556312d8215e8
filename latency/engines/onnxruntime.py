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

from latency.breakdown import OperationClass, classify_onnxruntime
from latency.engines import Array, Job, ProfiledOperation

_MICROSECOND = 1e-6
_NODE_SUFFIX = "_kernel_time"
_FUSION_SUFFIX = re.compile(r"_token_\d+$")
"""The suffix that ONNX Runtime appends to the name of a fused operation."""

_DYNAMIC_AXES = ("batch", "height", "width")
"""Names of the dynamic axes in our files. They are fixed, so that the session plans its memory with known shapes."""


def version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


class OrtRunner:
    """A session of an ONNX file, with its images and the last output."""

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
        self._last_output = self._images

    def predict(self) -> None:
        (self._last_output,) = self._session.run([self._output], {self._input: self._images})

    def outputs(self) -> Array:
        return np.asarray(self._last_output, dtype=np.float32)

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
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = self._job.threads or 0
        options.inter_op_num_threads = 1
        for axis, length in zip(_DYNAMIC_AXES, (self._job.batch, *self._job.shape[1:]), strict=True):
            options.add_free_dimension_override_by_name(axis, length)
        if profiled is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profiled)
        return onnxruntime.InferenceSession(self._job.source, options, providers=["CPUExecutionProvider"])


open_runner = OrtRunner


def _kernels(source: str) -> dict[str, list[int]]:
    """Kernel shapes of integer convolutions by node name; the profile lacks them."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    dequantised = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name: shapes[dequantised[node.input[1]]]
        for node in graph.node
        if node.op_type == "Conv" and dequantised.get(node.input[1]) in shapes
    }


def _operations(events: list[dict[str, Any]], count: int, kernels: Mapping[str, list[int]]) -> list[ProfiledOperation]:
    """Aggregate the kernels of all predictions but the first; the time between kernels is an operation of its own."""
    runs = [event for event in events if event["name"] == "model_run"][1:]
    begun = runs[0]["ts"]
    seconds: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_NODE_SUFFIX) and event["ts"] >= begun:
            details = event["args"]
            shapes = [list(shape) for each in details["input_type_shape"] for shape in each.values()]
            name = event["name"].removesuffix(_NODE_SUFFIX)
            kernel = kernels.get(_FUSION_SUFFIX.sub("", name), [])
            key = name, classify_onnxruntime(details["op_name"], shapes, kernel)
            seconds[key] += event["dur"] * _MICROSECOND
            calls[key] += 1
    between = sum(run["dur"] for run in runs) * _MICROSECOND - seconds.total()
    operations = [ProfiledOperation(*key, seconds[key] / count, round(calls[key] / count)) for key in seconds]
    return [*operations, ProfiledOperation("between operations", OperationClass.OTHER, max(between, 0.0) / count, 1)]
