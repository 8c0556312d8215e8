"""PyTorch traced and frozen by TorchScript, as in the published benchmark scripts."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn

from latency.engines import Job
from latency.engines.torch import Network, TorchRunner, version

__all__ = ["open_runner", "version"]


def open_runner(job: Job) -> TorchRunner:
    """Open a runner of the traced module."""
    return TorchRunner(job, _traced)


def _traced(module: nn.Module, images: Tensor, job: Job) -> Network:
    """Trace and freeze a module. Freezing folds the casts of weights."""
    with warnings.catch_warnings():
        # deprecation in favour of torch.compile, and sizes that the trace fixes on purpose
        warnings.simplefilter("ignore")
        return cast("Network", torch.jit.freeze(torch.jit.trace(module, images, check_trace=False)))
