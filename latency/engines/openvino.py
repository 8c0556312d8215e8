"""OpenVINO on the CPU, for ONNX files.

The precision of floats is set explicitly. In a quantised file it is float32, and the mode says so: by default OpenVINO
chooses bfloat16, and M4 in int8 takes longer (36 ms instead of 32 on an AMD EPYC).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from latency.breakdown import classify_openvino
from latency.engines import Array, Job, ProfiledOperation

_ARITHMETIC = {"fp32": "f32", "fp16": "f32", "bf16": "bf16"}
"""OpenVINO's element type by precision; the weights of an fp16 file are converted to float32, once."""


def version() -> str:
    import openvino

    return str(openvino.get_version())


class OpenvinoRunner:
    """A compiled model with its images in place."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._kernels: dict[str, list[int]] = {}
        self.mode = ""
        self._request = self._compile(profiled=False).create_infer_request()
        self._images = job.images().astype(self._request.get_input_tensor(0).data.dtype)
        self._request.set_input_tensor(_tensor(self._images))

    def predict(self) -> None:
        self._request.infer()

    def outputs(self) -> Array:
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)

    def profile(self, count: int) -> list[ProfiledOperation]:
        request = self._compile(profiled=True).create_infer_request()
        request.set_input_tensor(_tensor(self._images))
        request.infer()
        seconds: Counter[tuple[str, str]] = Counter()
        calls: Counter[tuple[str, str]] = Counter()
        for _ in range(count):
            request.infer()
            for each in request.get_profiling_info():
                kernel = self._kernels.get(each.node_name, [])
                key = each.node_name, classify_openvino(each.node_type, each.exec_type, kernel)
                seconds[key] += each.real_time.total_seconds()
                calls[key] += each.real_time.total_seconds() > 0
        return [
            ProfiledOperation(*key, seconds[key] / count, round(calls[key] / count)) for key in seconds if seconds[key]
        ]

    def _compile(self, profiled: bool) -> Any:
        import openvino

        core = openvino.Core()
        model = core.read_model(self._job.source)
        model.reshape([self._job.batch, *self._job.shape])
        if profiled:
            self._kernels = _kernels(model)
        threads = {} if self._job.threads is None else {"INFERENCE_NUM_THREADS": self._job.threads}
        expected = _ARITHMETIC.get(self._job.precision, "f32")
        settings = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": profiled, "INFERENCE_PRECISION_HINT": expected}
        compiled = core.compile_model(model, "CPU", {**settings, **threads})
        actual = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if self._job.precision not in _ARITHMETIC:
            self.mode = f"floats in {actual}"
        if actual != expected:
            raise RuntimeError(
                f"this processor does not compute in {self._job.precision} in OpenVINO, which chose {actual}"
            )
        return compiled


open_runner = OpenvinoRunner


def _tensor(images: Array) -> Any:
    import openvino

    return openvino.Tensor(images, shared_memory=True)


def _kernels(model: Any) -> dict[str, list[int]]:
    """Kernel shapes of convolutions by node name, the channels of a group before (H, W)."""
    return {
        op.get_friendly_name(): list(op.input_value(1).get_shape())
        for op in model.get_ops()
        if op.get_type_name() in ("Convolution", "GroupConvolution")
    }
