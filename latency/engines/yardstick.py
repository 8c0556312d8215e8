"""Work that never changes, timed beside the contenders: it tells how fast the machine itself is.

Half of it is bound by arithmetic (a product of matrices) and half by memory (a sum over more than caches
hold), as networks are.
"""

from __future__ import annotations

import numpy as np

from latency.engines import Array, Engine, Job, ProfiledOperation

ENGINE = Engine("numpy", "latency.engines.yardstick", "", ("numpy",), "bench", {"cpu": ("fp32",)})

_SIDE = 768
_FLOATS = 1 << 23


def version() -> str:
    return np.__version__


class YardstickRunner:
    """Its arrays in place; what it computes does not depend on the job."""

    mode = ""

    def __init__(self, job: Job) -> None:
        generator = np.random.default_rng(0)
        self._matrix = generator.standard_normal((_SIDE, _SIDE), np.float32)
        self._long = generator.standard_normal(_FLOATS, np.float32)
        self._buffer = np.empty_like(self._long)

    def predict(self) -> None:
        for _ in range(4):
            self._matrix @ self._matrix
            np.add(self._long, 1, out=self._buffer)

    def outputs(self) -> Array:
        return self._matrix[:1, :1]

    def profile(self, count: int) -> list[ProfiledOperation]:
        return []


open_runner = YardstickRunner
