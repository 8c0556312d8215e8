"""An engine whose every behaviour is known beforehand: the source of its job says what it does, as JSON.

``delay_s``  of a prediction; ``slow_every`` and ``slow_s``: each so many-th takes so much more;
``fits``     the largest batch that it has memory for; for a larger one it says its ``refusal``, else that of Python;
after ``breaks_after`` predictions it fails; where it ``dies`` it ends its process; after ``drifts_after`` predictions
its answer is no number any more; it computes in the ``mode`` that it chose.
"""

from __future__ import annotations

import json
import os
import time

import numpy as np

from latency.engines import Array, Engine, Job, ProfiledOperation
from latency.plan import Entry
from latency.subjects import Subject

ENGINE = Engine("fake", "fake_engine", "", ("numpy",), "bench", {"cpu": ("fp32",)})


def entry(name: str, group: str = "group", batch: int = 2, device: str = "cpu", **behaviour: float | str) -> Entry:
    """A contender in this engine."""
    subject = Subject("artifact", name, json.dumps(behaviour), 0)
    return Entry(subject, ENGINE, device, "fp32", "", batch, 1 if device == "cpu" else None, 8, 8, group)


def version() -> str:
    return "1"


class FakeRunner:
    """Sleeps."""

    def __init__(self, job: Job) -> None:
        self.behaviour = json.loads(job.source)
        self.mode = self.behaviour.get("mode", "")
        self.predicted = 0
        if job.batch > self.behaviour.get("fits", job.batch):
            refusal = self.behaviour.get("refusal")
            raise RuntimeError(refusal) if refusal else MemoryError("no memory for so many images")

    def predict(self) -> None:
        self.predicted += 1
        if self.predicted > self.behaviour.get("breaks_after", self.predicted):
            raise RuntimeError("it broke")
        if "dies" in self.behaviour:
            os._exit(3)
        slow = "slow_every" in self.behaviour and self.predicted % self.behaviour["slow_every"] == 0
        time.sleep(self.behaviour.get("delay_s", 0.001) + (self.behaviour["slow_s"] if slow else 0))

    def outputs(self) -> Array:
        is_lost = self.predicted > self.behaviour.get("drifts_after", self.predicted)
        return np.full((1, 1), np.nan if is_lost else 1, np.float32)

    def profile(self, count: int) -> list[ProfiledOperation]:
        return [ProfiledOperation("sleep", "other", self.behaviour.get("delay_s", 0.001), 1)]


open_runner = FakeRunner
