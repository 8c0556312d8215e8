"""A process that does one thing for a run: prepare a subject, or time a contender.

``python -m latency.worker [MODULE...]`` imports the modules that it finds, so that it is ready when it is asked. Then
it reads commands from stdin, a line of JSON each with a ``verb``, and answers each with a line of JSON on what was its
stdout:

============  ======================================================================================
``limit``     hold the process to so many bytes
``prepare``   make a subject ready (:mod:`latency.preparation`)
``open``      load and predict once: what it took, and how far the answer is from the expected one
``predict``   one prediction that does not count where asked, then samples
``check``     how far the last answer is from the expected one
``memory``    the highest memory of some predictions
``profile``   the engine's own profile of some predictions
============  ======================================================================================

A command that fails is answered by a ``failure`` (``memory``, ``different``, ``absent`` or ``other``) and a
``message``.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy.common.errors import EvimError, ParityFailed
from latency import memory
from latency.engines import Array, Job, Runner, load


class Worker:
    """The commands, one method each; arguments and answers are plain JSON values."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._device = "cpu"
        self._before_bytes = 0

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("nothing is open")
        return self._runner

    def limit(self, limit_bytes: int) -> dict[str, Any]:
        memory.limit_process(limit_bytes)
        return {}

    def prepare(self, subject: dict[str, Any], folder: str, **target: Any) -> dict[str, Any]:
        from latency.preparation import prepare
        from latency.subjects import Subject

        return dataclasses.asdict(prepare(Subject(**subject), folder=Path(folder), **target))

    def open(self, module: str, job: dict[str, Any], libraries: list[str], expected: str | None) -> dict[str, Any]:
        """Load a job and predict once; ``error`` is None without an expected answer.

        What is imported, the engine and the libraries that its file needs, is no part of the cold start.
        """
        engine, order = load(module), Job(**{**job, "shape": tuple(job["shape"])})
        version = engine.version()
        for library in libraries:
            importlib.import_module(library)
        self._device = order.device
        self._before_bytes = memory.resident_bytes()
        if order.device == "cuda":
            _require_gpu()
        began = time.perf_counter()
        self._runner = engine.open_runner(order)
        loaded = time.perf_counter()
        self._runner.predict()
        predicted = time.perf_counter()
        own_bytes = memory.peak_bytes() - memory.shared_bytes()
        return {
            "load_s": loaded - began,
            "first_prediction_s": predicted - loaded,
            **self.check(expected),
            "peak_bytes": memory.peak_bytes(),
            "own_bytes": memory.gpu_bytes()[0] if order.device == "cuda" else own_bytes,
            "version": version,
            "mode": self._runner.mode,
        }

    def check(self, expected: str | None) -> dict[str, Any]:
        """``error`` of the last answer to the first image; None without an expected one."""
        answer = self.runner.outputs()
        if not np.isfinite(answer).all():
            raise ParityFailed("Its answer is not finite.", "It was not timed.")
        return {"error": None if expected is None else relative_error(answer[:1], np.load(expected))}

    def predict(self, seconds: float, count: int, lead: int) -> dict[str, Any]:
        """Samples for at least so long and at least so many, after ``lead`` predictions that do not count."""
        runner = self.runner
        for _ in range(lead):
            runner.predict()
        samples: list[float] = []
        begun = last = time.perf_counter()
        while len(samples) < count or last - begun < seconds:
            start = time.perf_counter()
            runner.predict()
            last = time.perf_counter()
            samples.append(last - start)
        return {"samples_s": samples}

    def memory(self, count: int) -> dict[str, Any]:
        """The highest memory of some predictions; on a GPU of loading, too, for CUDA graphs allocate once."""
        if self._device == "cuda":
            import torch

            return {"peak_bytes": torch.cuda.max_memory_allocated(), "before_bytes": 0, "of": "accelerator"}
        memory.reset_peak()
        for _ in range(count):
            self.runner.predict()
        return {"peak_bytes": memory.peak_bytes(), "before_bytes": self._before_bytes, "of": "process"}

    def profile(self, count: int) -> dict[str, Any]:
        return {"operations": [dataclasses.asdict(each) for each in self.runner.profile(count)]}


class Absent(Exception):
    """This host has not what the job needs."""


def _require_gpu() -> None:
    """Check that PyTorch has a GPU, and count its memory from now on.

    Raises:
        Absent: It has none.
    """
    import torch

    if not torch.cuda.is_available():
        raise Absent("PyTorch finds no CUDA device: it is built without CUDA, or the driver does not fit")
    torch.cuda.reset_peak_memory_stats()


def relative_error(answer: Array, expected: Array) -> float:
    """Largest difference of an answer, as a share of the expected one's largest magnitude.

    Raises:
        ParityFailed: They do not have as many values.
    """
    if not np.abs(expected).max() > 0:
        raise ParityFailed("The model's own answer is zero or not finite.", "It was not timed.")
    if answer.size != expected.size:
        raise ParityFailed(f"It answers with {answer.size} values instead of {expected.size}.", "It was not timed.")
    return float(np.abs(answer.ravel() - expected.ravel()).max() / np.abs(expected).max())


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes elsewhere
    for module in sys.argv[1:]:
        with suppress(ImportError):  # a command that needs it says so
            importlib.import_module(module)
    worker = Worker()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(worker, **json.loads(line))) + "\n")


def _answer(worker: Worker, verb: str, **arguments: Any) -> dict[str, Any]:
    try:
        return getattr(worker, verb)(**arguments)
    except Exception as error:
        return {"failure": _kind(error), "message": _words(error)}


def _kind(error: Exception) -> str:
    for kind, name in ((ParityFailed, "different"), (Absent, "absent")):
        if isinstance(error, kind):
            return name
    return "memory" if memory.was_refused(error) else "other"


def _words(error: Exception) -> str:
    if isinstance(error, EvimError):
        return error.cause.rstrip(".")
    if isinstance(error, Absent):
        return str(error)
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"[:500]


if __name__ == "__main__":
    main()
