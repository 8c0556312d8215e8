"""A fake engine. The source of its job defines its behaviour, as JSON:

``delay_s`` is the time of a prediction; every ``slow_every``-th prediction takes ``slow_s`` longer. ``fits`` is the
largest batch that fits in memory; a larger one raises ``refusal``, or Python's error. It fails after ``breaks_after``
predictions, ends its process if it ``dies``, returns NaN after ``drifts_after`` predictions, and reports its ``mode``.
"""

from __future__ import annotations

import json
import os
import time

import numpy as np

from latency.engines import Array, Engine, Job, ProfiledOperation
from latency.enums import SubjectKind
from latency.plan import PlannedCase
from latency.subjects import Subject

ENGINE = Engine(
    name="fake",
    module="fake_engine",
    file_suffix="",
    requires=("numpy",),
    extra="bench",
    precisions={"cpu": ("fp32",)},
)


def planned_case(
    name: str, group: str = "group", batch: int = 2, device: str = "cpu", **behaviour: float | str
) -> PlannedCase:
    """A planned case in this engine."""
    subject = Subject(kind=SubjectKind.ARTIFACT, name=name, source=json.dumps(behaviour), resolution=0)
    return PlannedCase(
        subject=subject,
        engine=ENGINE,
        device=device,
        precision="fp32",
        layout="",
        batch=batch,
        threads=1 if device == "cpu" else None,
        height=8,
        width=8,
        group=group,
    )


def version() -> str:
    return "1"


class FakeRunner:
    """A runner that sleeps."""

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
        is_nan = self.predicted > self.behaviour.get("drifts_after", self.predicted)
        return np.full((1, 1), np.nan if is_nan else 1, np.float32)

    def profile(self, count: int) -> list[ProfiledOperation]:
        return [ProfiledOperation("sleep", "other", self.behaviour.get("delay_s", 0.001), 1)]


open_runner = FakeRunner
