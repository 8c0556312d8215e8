"""The code for GPUs, with fakes: a driver's tool with known figures, and a profiler's events.

Predictions do not run on a GPU here; the same code runs on CPU tensors in test_latency_engines.py.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_engine import ENGINE, planned_case

from evim_deploy.common.progress import Silent
from latency import memory
from latency.engines import Job
from latency.engines.torch import _operations
from latency.host import host_record
from latency.messages import FAILURES
from latency.monitor import Monitor
from latency.plan import BenchRequest, Plan
from latency.protocol import PROTOCOLS
from latency.results import Memory
from latency.session import Session
from latency.worker import Worker, _reply

JOB = Job(
    source="{}",
    precision="fp16",
    batch=1,
    shape=(3, 8, 8),
    threads=None,
    device="cuda",
    layout="channels-last",
)
_TOOL = """#!/bin/sh
case "$1" in
  *memory*) echo "1024, 2048" ;;
  *clocks*) echo "1980, 61" ;;
  *name*) echo "NVIDIA Test, 550.1" ;;
esac
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake of the driver's tool, first in the path."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(_TOOL)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_the_drivers_words_are_read(driver: None) -> None:
    assert memory.gpu_bytes() == (1 << 30, 2 << 30)
    assert host_record(["torch"]).accelerator == "NVIDIA Test, 550.1"
    monitor = Monitor(gpu=True)
    monitor.read("during")
    assert (monitor.readings[0].accelerator_mhz, monitor.readings[0].accelerator_temperature_c) == (1980, 61)


def test_without_a_driver_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.gpu_bytes() == (0, 0)
    assert host_record(["torch"]).accelerator is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
def test_a_torch_without_a_gpu_is_not_run_here_and_no_failure() -> None:
    answer = _reply(Worker(), "open", module=ENGINE.module, job=asdict(JOB), libraries=[], expected=None)
    assert answer["failure"] == "unavailable"
    assert "no CUDA device" in answer["message"]


def test_the_gpus_memory_counts_from_loading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph allocates memory when it is captured, but not when it is replayed."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    forgotten: list[bool] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: forgotten.append(True))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    worker = Worker()
    assert "failure" not in _reply(worker, "open", module=ENGINE.module, job=asdict(JOB), libraries=[], expected=None)
    assert worker.memory(3) == {"peak_bytes": 123, "before_bytes": 0, "of": "accelerator"}
    assert forgotten == [True]


class HereProcess:
    """A fake worker process that runs in this process."""

    pid = os.getpid()

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._worker = Worker()

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        answer = _reply(self._worker, verb, **arguments)
        if "failure" in answer:
            raise FAILURES[answer["failure"]](answer["message"])
        return answer

    def close(self) -> None:
        pass

    def __enter__(self) -> HereProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def gpu(driver: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch with a fake GPU, whose peak memory is 123 bytes."""
    for name, answer in (("is_available", True), ("reset_peak_memory_stats", None), ("max_memory_allocated", 123)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    for module in ("trial", "session", "prefetch"):
        monkeypatch.setattr(f"latency.{module}.WorkerProcess", HereProcess)


def test_on_a_gpu_the_batch_halves_while_memory_runs_out(gpu: None) -> None:
    """The message is that of torch.OutOfMemoryError; the rounds use the batch that fits."""
    refusal = "CUDA out of memory. Tried to allocate 12.00 GiB. GPU 0 has a total capacity of 79.18 GiB"
    small = planned_case("small", "cuda, 512x512", 16, "cuda")
    large = planned_case("large", "cuda, 4096x4096", 16, "cuda", fits=4, refusal=refusal)
    request = BenchRequest(protocol=replace(PROTOCOLS["robust"], seconds=0.05, warmup_s=0, rounds=5), memory=True)
    results, stop = Session(Plan((small, large)), request, ["evim-deploy", "bench"], Silent()).measure()
    assert stop is None
    assert results.complete
    found = {each.subject.name: each for each in results.cases if each.role == "contender"}
    assert [(each.batch, each.outcome) for each in found["large"].attempts] == [
        (16, "out of memory"),
        (8, "out of memory"),
        (4, "fits"),
    ]
    assert [(each.batch_asked, each.batch, len(each.rounds)) for each in found.values()] == [(16, 16, 5), (16, 4, 5)]
    assert found["large"].memory == Memory(peak_bytes=123, before_bytes=0, of="accelerator")


def test_another_refusal_on_a_gpu_halves_nothing(gpu: None) -> None:
    request = BenchRequest(protocol=replace(PROTOCOLS["robust"], seconds=0.05, warmup_s=0, rounds=5))
    broken = planned_case("broken", "cuda", 16, "cuda", fits=4, refusal="CUDA error: an illegal memory access")
    results, _ = Session(Plan((broken,)), request, ["evim-deploy", "bench"], Silent()).measure()
    (case,) = results.cases
    assert (case.outcome, case.batch, case.attempts) == ("failed", 16, [])


def test_a_profile_of_the_gpu_has_the_kernels_time_once() -> None:
    """The time is attributed to the launching operation; events of the kernels are skipped."""
    cpu, cuda = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA

    def event(key: str, device: object, microseconds: float) -> SimpleNamespace:
        return SimpleNamespace(
            key=key,
            device_type=device,
            self_device_time_total=microseconds,
            self_cpu_time_total=7.0,
            input_shapes=[[1, 8, 8, 8], [8, 8, 1, 1]],
            count=4,
        )

    events = [event("aten::cudnn_convolution", cpu, 40), event("sm90_gemm", cuda, 40), event("aten::relu", cpu, 10)]
    found = _operations(events, "cuda", 2)
    assert [each.name for each in found] == ["aten::cudnn_convolution", "aten::relu"]
    assert [each.seconds for each in found] == pytest.approx([20e-6, 5e-6])
    assert [each.calls for each in found] == [2, 2]
