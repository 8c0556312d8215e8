"""PyTorch in eager mode, under autocast unless the precision is fp32.

Autocast casts the weights in every prediction, as in the paper's measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from latency.breakdown import OperationClass, classify_torch
from latency.engines import Array, Job, ProfiledOperation
from latency.enums import MemoryLayout

Network = Callable[[Tensor], Tensor]
Transform = Callable[[nn.Module, Tensor, Job], Network]

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_PREDICTION = "prediction"
_MICROSECOND = 1e-6


def version() -> str:
    """The version of PyTorch, with the CPU or CUDA build."""
    return str(torch.__version__)


class TorchRunner:
    """A prepared module and its images on the device.

    Args:
        job: The module to load.
        transform: Compiles the module for timing; runs in the job's precision.
        profiled_as: Compiles the module for profiling, if different.
    """

    mode = ""

    def __init__(self, job: Job, transform: Transform | None = None, profiled_as: Transform | None = None) -> None:
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        # otherwise cuDNN computes fp32 convolutions in TF32
        torch.backends.cudnn.allow_tf32 = False
        layout = torch.channels_last if job.layout == MemoryLayout.CHANNELS_LAST else torch.contiguous_format
        # safe: latency.preparation has just written the file into a private folder
        module = torch.load(job.source, weights_only=False, map_location=job.device)
        self._job = job
        self._module: nn.Module = module.to(memory_format=layout)
        self._images = _batch(job, layout)
        self._profiled_as = profiled_as
        self._last_output = self._images
        with self._computing():
            self._network = transform(self._module, self._images, job) if transform else self._module

    def predict(self) -> None:
        with self._computing():
            self._last_output = self._network(self._images)
        self._wait()

    def outputs(self) -> Array:
        output: Array = self._last_output.float().cpu().numpy()
        return output

    def profile(self, count: int) -> list[ProfiledOperation]:
        from torch.profiler import ProfilerActivity, profile, record_function

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._job.device == "cuda" else [])]
        with self._computing():
            network = self._network
            if self._profiled_as:
                network = self._profiled_as(self._module, self._images, self._job)
            network(self._images)
            self._wait()
            with profile(activities=activities, record_shapes=True) as profiler:
                for _ in range(count):
                    with record_function(_PREDICTION):
                        network(self._images)
                self._wait()
        return _operations(profiler.key_averages(group_by_input_shape=True), self._job.device, count)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Context of the job's precision, without gradients."""
        dtype = _DTYPES.get(self._job.precision)
        # a cache would keep the weights that were cast during tracing
        autocast = torch.autocast(self._job.device, dtype, enabled=dtype is not None, cache_enabled=False)
        with torch.inference_mode(), autocast:
            yield

    def _wait(self) -> None:
        if self._job.device == "cuda":
            torch.cuda.synchronize()


open_runner = TorchRunner


def _batch(job: Job, layout: torch.memory_format) -> Tensor:
    """The images of a job (B, C, H, W) on its device, without a second copy, which would raise the peak memory."""
    distinct = torch.from_numpy(job.distinct_images())
    images = torch.empty((job.batch, *job.shape), device=job.device, memory_format=layout)
    for part in images.split(len(distinct)):
        part.copy_(distinct[: len(part)])
    return images


def _operations(averages: Any, device: str, count: int) -> list[ProfiledOperation]:
    """Convert the profiler's averages to operations, by self time; on a GPU by the time of the launched kernels.

    The time between operations, spent in Python, is an operation of the class ``other``. The profiler lists GPU kernels
    a second time as events of their own, which are skipped.
    """
    operations = []
    for event in averages:
        microseconds = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        if microseconds <= 0 or event.device_type.name != "CPU":
            continue
        is_between = event.key == _PREDICTION
        operations.append(
            ProfiledOperation(
                "between operations" if is_between else event.key,
                OperationClass.OTHER if is_between else classify_torch(event.key, event.input_shapes),
                microseconds * _MICROSECOND / count,
                round(event.count / count),
            )
        )
    return operations
