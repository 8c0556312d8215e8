"""PyTorch traced and frozen, as the scripts that published numbers come from do it."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn

from latency.engines import Job
from latency.engines.torch import Network, TorchRunner, version

__all__ = ["open_runner", "version"]


def open_runner(job: Job) -> TorchRunner:
    """A runner of the traced module."""
    return TorchRunner(job, _traced)


def _traced(module: nn.Module, images: Tensor, job: Job) -> Network:
    """Casts are traced with the rest, and freezing computes those of weights once."""
    with warnings.catch_warnings():
        # of newer ways to compile, which are other engines here, and of sizes that the trace fixes, as it should
        warnings.simplefilter("ignore")
        return cast("Network", torch.jit.freeze(torch.jit.trace(module, images, check_trace=False)))
