"""PyTorch in eager mode: the inference form as it was prepared, under autocast where the precision is not fp32.

Autocast casts the weights anew in every prediction, as in the paper's own measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from latency.breakdown import OTHER, classify_torch
from latency.engines import CHANNELS_LAST, Array, Job, ProfiledOperation

Network = Callable[[Tensor], Tensor]
Transform = Callable[[nn.Module, Tensor, Job], Network]

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_PREDICTION = "prediction"
_MICROSECOND = 1e-6


def version() -> str:
    """PyTorch's own, which tells CPU and CUDA builds apart."""
    return str(torch.__version__)


class TorchRunner:
    """A prepared module and its images on their device.

    Args:
        job: What to load.
        transform: What makes of the module what is timed; it runs in the job's precision.
        profiled_as: What makes of it what is profiled, where that is another.
    """

    mode = ""

    def __init__(self, job: Job, transform: Transform | None = None, profiled_as: Transform | None = None) -> None:
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        # fp32 is fp32: cuDNN would compute its convolutions in TF32
        torch.backends.cudnn.allow_tf32 = False
        layout = torch.channels_last if job.layout == CHANNELS_LAST else torch.contiguous_format
        # latency.preparation wrote the file just now, into a folder of ours
        module = torch.load(job.source, weights_only=False, map_location=job.device)
        self._job = job
        self._module: nn.Module = module.to(memory_format=layout)
        self._images = _batch(job, layout)
        self._profiled_as = profiled_as
        self._answer = self._images
        with self._computing():
            self._network = transform(self._module, self._images, job) if transform else self._module

    def predict(self) -> None:
        with self._computing():
            self._answer = self._network(self._images)
        self._wait()

    def outputs(self) -> Array:
        answer: Array = self._answer.float().cpu().numpy()
        return answer

    def profile(self, count: int) -> list[ProfiledOperation]:
        from torch.profiler import ProfilerActivity, profile, record_function

        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._job.device == "cuda" else [])]
        with self._computing():
            network = self._network
            if self._profiled_as:
                network = self._profiled_as(self._module, self._images, self._job)
            network(self._images)
            self._wait()
            with profile(activities=activities, record_shapes=True) as found:
                for _ in range(count):
                    with record_function(_PREDICTION):
                        network(self._images)
                self._wait()
        return _operations(found.key_averages(group_by_input_shape=True), self._job.device, count)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """In the job's precision, without gradients."""
        dtype = _DTYPES.get(self._job.precision)
        # no cache: a traced module would keep weights that were cast while it was traced
        autocast = torch.autocast(self._job.device, dtype, enabled=dtype is not None, cache_enabled=False)
        with torch.inference_mode(), autocast:
            yield

    def _wait(self) -> None:
        if self._job.device == "cuda":
            torch.cuda.synchronize()


open_runner = TorchRunner


def _batch(job: Job, layout: torch.memory_format) -> Tensor:
    """The images of a job (B, C, H, W) on its device, which holds no second copy: its peak memory is measured."""
    distinct = torch.from_numpy(job.distinct_images())
    images = torch.empty((job.batch, *job.shape), device=job.device, memory_format=layout)
    for part in images.split(len(distinct)):
        part.copy_(distinct[: len(part)])
    return images


def _operations(averages: Any, device: str, count: int) -> list[ProfiledOperation]:
    """The profiler's operations by the time that each takes itself; on a GPU, that of the kernels that it launched.

    What lies between the operations, Python's part, is an operation of the class ``other``. The GPU's kernels are
    listed a second time by themselves, and are left out there.
    """
    found = []
    for event in averages:
        microseconds = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        if microseconds <= 0 or event.device_type.name != "CPU":
            continue
        is_between = event.key == _PREDICTION
        found.append(
            ProfiledOperation(
                "between operations" if is_between else event.key,
                OTHER if is_between else classify_torch(event.key, event.input_shapes),
                microseconds * _MICROSECOND / count,
                round(event.count / count),
            )
        )
    return found
