"""A process that prepares a subject or times a case.

``python -m latency.worker [MODULE...]`` imports the modules that are installed, to be ready before the first command.
It reads commands from stdin, each a line of JSON with a ``verb``, and writes the reply to each as a line of JSON to its
original stdout:

============  ==============================================================================
``limit``     limit the memory of the process
``prepare``   prepare a subject (:mod:`latency.preparation`)
``open``      load a job and predict once: times, memory, and the error of the output
``predict``   some discarded predictions if asked for, then samples
``check``     the error of the last output
``memory``    the peak memory of some predictions
``profile``   the engine's own profile of some predictions
============  ==============================================================================

The reply to a command that fails is a ``failure`` and a ``message`` (:mod:`latency.messages`).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evim_deploy.common.errors import EvimError, ParityFailed, first_line
from latency import memory
from latency.engines import Array, Job, Runner, load
from latency.messages import (
    CheckReply,
    FailureKind,
    FailureReply,
    MemoryReply,
    NotOnThisHost,
    OpenReply,
    ProfileReply,
    SamplesReply,
)

if TYPE_CHECKING:
    from latency.subjects import PreparedSubject


class Worker:
    """The commands, one method each. Arguments and replies are plain JSON values."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._device = "cpu"
        self._before_bytes = 0

    @property
    def runner(self) -> Runner:
        """The open runner.

        Raises:
            RuntimeError: Nothing is open.
        """
        if self._runner is None:
            raise RuntimeError("nothing is open")
        return self._runner

    def limit(self, limit_bytes: int) -> dict[str, object]:
        """Limit the memory of the process, bytes."""
        memory.limit_process(limit_bytes)
        return {}

    def prepare(self, subject: Mapping[str, Any], folder: str, **target: Any) -> dict[str, object]:
        """Prepare a subject; the reply has the fields of a :class:`latency.subjects.PreparedSubject`."""
        from latency.enums import SubjectKind
        from latency.preparation import prepare
        from latency.subjects import Subject

        kind = SubjectKind(subject["kind"])
        prepared: PreparedSubject = prepare(Subject(**{**subject, "kind": kind}), folder=Path(folder), **target)
        return dataclasses.asdict(prepared)

    def open(self, module: str, job: dict[str, Any], libraries: list[str], expected: str | None) -> OpenReply:
        """Load a job and predict once.

        The cold start excludes the import of the engine and of the libraries that the file needs.
        """
        engine, loaded_job = load(module), Job(**{**job, "shape": tuple(job["shape"])})
        version = engine.version()
        for library in libraries:
            importlib.import_module(library)
        self._device = loaded_job.device
        self._before_bytes = memory.resident_bytes()
        if loaded_job.device == "cuda":
            _require_gpu()
        start = time.perf_counter()
        self._runner = engine.open_runner(loaded_job)
        loaded = time.perf_counter()
        self._runner.predict()
        predicted = time.perf_counter()
        own_bytes = memory.peak_bytes() - memory.shared_bytes()
        return {
            "load_s": loaded - start,
            "first_prediction_s": predicted - loaded,
            **self.check(expected),
            "peak_bytes": memory.peak_bytes(),
            "own_bytes": memory.gpu_bytes()[0] if loaded_job.device == "cuda" else own_bytes,
            "version": version,
            "mode": self._runner.mode,
        }

    def check(self, expected: str | None) -> CheckReply:
        """Compare the last output for the first image with the expected output, a path of a ``.npy`` file."""
        output = self.runner.outputs()
        if not np.isfinite(output).all():
            raise ParityFailed("Its output is not finite.", "It was not timed.")
        return {"error": None if expected is None else relative_error(output[:1], np.load(expected))}

    def predict(self, seconds: float, count: int, discarded: int) -> SamplesReply:
        """Time predictions.

        Args:
            seconds: Minimum time.
            count: Minimum number of samples.
            discarded: Warm-up runs before the first sample.
        """
        runner = self.runner
        for _ in range(discarded):
            runner.predict()
        samples: list[float] = []
        begin = end = time.perf_counter()
        while len(samples) < count or end - begin < seconds:
            start = time.perf_counter()
            runner.predict()
            end = time.perf_counter()
            samples.append(end - start)
        return {"samples_s": samples}

    def memory(self, count: int) -> MemoryReply:
        """Measure the peak memory of ``count`` predictions; on a GPU with loading, since CUDA graphs allocate once."""
        if self._device == "cuda":
            import torch

            return {"peak_bytes": torch.cuda.max_memory_allocated(), "before_bytes": 0, "of": "accelerator"}
        memory.reset_peak()
        for _ in range(count):
            self.runner.predict()
        return {"peak_bytes": memory.peak_bytes(), "before_bytes": self._before_bytes, "of": "process"}

    def profile(self, count: int) -> ProfileReply:
        """Profile ``count`` predictions."""
        return {
            "operations": [
                {
                    "name": each.name,
                    "operation_class": each.operation_class,
                    "seconds": each.seconds,
                    "calls": each.calls,
                }
                for each in self.runner.profile(count)
            ]
        }


def _require_gpu() -> None:
    """Check that PyTorch has a GPU, and reset its memory statistics.

    Raises:
        NotOnThisHost: PyTorch has no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise NotOnThisHost("PyTorch finds no CUDA device: it is built without CUDA, or the driver does not fit")
    torch.cuda.reset_peak_memory_stats()


def relative_error(output: Array, expected: Array) -> float:
    """The largest difference of an output, relative to the largest magnitude of the expected output.

    Raises:
        ParityFailed: The numbers of values differ, or the expected output is zero or not finite.
    """
    if not np.abs(expected).max() > 0:
        raise ParityFailed("The output of the original model is zero or not finite.", "It was not timed.")
    if output.size != expected.size:
        raise ParityFailed(f"Its output has {output.size} values instead of {expected.size}.", "It was not timed.")
    return float(np.abs(output.ravel() - expected.ravel()).max() / np.abs(expected).max())


def main() -> None:
    """Serve commands until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the output of libraries goes to stderr
    for module in sys.argv[1:]:
        with suppress(ImportError):  # the command that needs it reports the failure
            importlib.import_module(module)
    worker = Worker()
    for line in sys.stdin:
        replies.write(json.dumps(_reply(worker, **json.loads(line))) + "\n")


def _reply(worker: Worker, verb: str, **arguments: object) -> Mapping[str, object]:
    try:
        reply: Mapping[str, object] = getattr(worker, verb)(**arguments)
    except Exception as error:
        failure: FailureReply = {"failure": _failure_kind(error), "message": _message(error)}
        return failure
    return reply


def _failure_kind(error: Exception) -> FailureKind:
    if isinstance(error, ParityFailed):
        return FailureKind.DIFFERENT
    if isinstance(error, NotOnThisHost):
        return FailureKind.UNAVAILABLE
    return FailureKind.MEMORY if memory.is_out_of_memory(error) else FailureKind.OTHER


def _message(error: Exception) -> str:
    if isinstance(error, EvimError):
        return error.cause.rstrip(".")
    if isinstance(error, NotOnThisHost):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}"[:500]


if __name__ == "__main__":
    main()
