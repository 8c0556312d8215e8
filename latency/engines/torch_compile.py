"""PyTorch compiled by inductor: C++ on the CPU, Triton in CUDA graphs on the GPU.

Compilation happens in the first prediction, whose time includes it.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from latency.engines import Job
from latency.engines.torch import Network, TorchRunner, version

__all__ = ["open_runner", "version"]

_MODES = {"cuda": "reduce-overhead"}


def open_runner(job: Job) -> TorchRunner:
    """Open a runner of the compiled module."""
    return TorchRunner(job, _compiled, _compiled_for_profile)


def _compiled(module: nn.Module, images: Tensor, job: Job) -> Network:
    return cast("Network", torch.compile(module, mode=_MODES.get(job.device), dynamic=False))


def _compiled_for_profile(module: nn.Module, images: Tensor, job: Job) -> Network:
    """The same kernels with names and outside of a CUDA graph, visible to a profiler."""
    torch._dynamo.reset()
    return cast("Network", torch.compile(module, options={"cpp.enable_kernel_profile": True}, dynamic=False))
