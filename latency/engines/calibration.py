"""The calibration workload: constant work, timed beside the cases to measure the speed of the machine.

Half of it is bound by arithmetic (matrix products) and half by memory (sums over an array larger than the caches),
as in networks.
"""

from __future__ import annotations

import numpy as np

from latency.engines import Array, Engine, Job, ProfiledOperation

ENGINE = Engine(
    name="numpy",
    module="latency.engines.calibration",
    file_suffix="",
    requires=("numpy",),
    extra="bench",
    precisions={"cpu": ("fp32",)},
)

_SIDE = 768
_FLOATS = 1 << 23


def version() -> str:
    return np.__version__


class CalibrationRunner:
    """The arrays of the workload, which does not depend on the job."""

    mode = ""

    def __init__(self, job: Job) -> None:
        generator = np.random.default_rng(0)
        self._matrix = generator.standard_normal((_SIDE, _SIDE), np.float32)
        self._vector = generator.standard_normal(_FLOATS, np.float32)
        self._buffer = np.empty_like(self._vector)

    def predict(self) -> None:
        for _ in range(4):
            self._matrix @ self._matrix
            np.add(self._vector, 1, out=self._buffer)

    def outputs(self) -> Array:
        return self._matrix[:1, :1]

    def profile(self, count: int) -> list[ProfiledOperation]:
        return []


open_runner = CalibrationRunner
