"""Readings of the host during a run: load, stolen time, clock, temperature."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from latency.gpu import has_driver, query
from latency.memory import available
from latency.results import Reading

_THROTTLE_COUNTS = "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")


class Monitor:
    """Takes readings; shares are of the time since the previous reading.

    Args:
        gpu: Whether to query the GPU, too.
    """

    def __init__(self, gpu: bool = False) -> None:
        self._started = self._last = time.perf_counter()
        self._gpu = gpu and has_driver()
        self._times = psutil.cpu_times()
        self._own = _own_seconds([])
        self.readings: list[Reading] = []

    def elapsed(self) -> float:
        """Seconds since the monitor was created."""
        return time.perf_counter() - self._started

    def read(self, phase: Literal["before", "during", "after"], workers: Iterable[int] = ()) -> None:
        """Take a reading.

        Args:
            phase: Phase of the run.
            workers: Ids of the other processes of the run; their work does not count as a disturbance.
        """
        now, times, own = time.perf_counter(), psutil.cpu_times(), _own_seconds(workers)
        wall = max(now - self._last, 1e-3)
        stolen = getattr(times, "steal", 0.0) - getattr(self._times, "steal", 0.0)
        busy = sum(getattr(times, name, 0.0) - getattr(self._times, name, 0.0) for name in _WORKING)
        others = busy - stolen - (own - self._own)
        self._last, self._times, self._own = now, times, own
        frequency = _frequency()
        self.readings.append(
            Reading(
                at_s=self.elapsed(),
                phase=phase,
                load_1m=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
                steal_share=max(0.0, stolen / wall / (psutil.cpu_count() or 1)),
                others_share=max(0.0, others / wall),
                frequency_mhz=frequency,
                throttled=_throttled(),
                temperature_c=_temperature(),
                memory_available_bytes=available(),
                **(_gpu() if self._gpu else {}),
            )
        )


def _own_seconds(workers: Iterable[int]) -> float:
    """CPU seconds of this process, of running workers, and of their ended children."""
    total = 0.0
    for pid in (os.getpid(), *workers):
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def _frequency() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return float(frequency.current) if frequency and frequency.current else None


def _temperature() -> float | None:
    """The highest temperature of the CPU's sensors, °C; None on macOS and most virtual machines."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    degrees = [each.current for name in ("coretemp", "k10temp", "cpu_thermal") for each in sensors.get(name, ())]
    return max(degrees, default=None)


def _throttled() -> int | None:
    counts = [int(path.read_text()) for path in Path("/sys").glob(_THROTTLE_COUNTS)]
    return sum(counts) if counts else None


def _gpu() -> dict[str, float]:
    try:
        clock_mhz, temperature_c = map(float, query("clocks.sm", "temperature.gpu"))
    except ValueError:  # the driver does not report them
        return {}
    return {"accelerator_mhz": clock_mhz, "accelerator_temperature_c": temperature_c}
