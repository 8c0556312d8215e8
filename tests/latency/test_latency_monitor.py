"""Readings of the host: CPU time of other processes, and available memory."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from latency import memory
from latency.monitor import Monitor, _own_seconds

BURN = "import time\nwhile time.process_time() < {}: pass\nprint(flush=True)\ntime.sleep({})"
"""A program that uses some seconds of CPU time, prints a line, and then sleeps."""


def burn(seconds: float, stays: float) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", BURN.format(seconds, stays)], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def test_a_workers_work_is_the_runs_own_whether_it_lives_or_has_ended() -> None:
    began = _own_seconds([])
    with burn(0.5, stays=60) as living:
        with_it, without_it = _own_seconds([living.pid]), _own_seconds([])
        living.kill()
    assert with_it - began > 0.4  # the system counts in steps of 10 ms
    assert without_it - began < 0.4  # a stranger's is not
    with burn(0.5, stays=0) as ended:
        ended.wait()
    assert _own_seconds([]) - began > 0.9


def test_shares_are_of_the_time_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores for ten seconds: 12 s busy, of which 2 are stolen and 7 are our own."""
    clock, busy, own = [100.0], [50.0], [3.0]
    times = {"nice": 0.0, "system": 0.0, "irq": 0.0, "softirq": 0.0}
    monkeypatch.setattr("latency.monitor.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("latency.monitor.psutil.cpu_count", lambda: 2)
    monkeypatch.setattr("latency.monitor._own_seconds", lambda workers: own[0])
    monkeypatch.setattr(
        "latency.monitor.psutil.cpu_times", lambda: SimpleNamespace(user=busy[0], steal=busy[0] / 5, **times)
    )
    monitor = Monitor()
    clock[0], busy[0], own[0] = 110.0, 60.0, 10.0
    monitor.read("during")
    (reading,) = monitor.readings
    assert reading.at_s == 10.0
    assert reading.steal_share == pytest.approx(0.1)
    assert reading.others_share == pytest.approx(0.3)


def test_a_reading_has_what_this_host_tells() -> None:
    monitor = Monitor()
    monitor.read("before")
    (reading,) = monitor.readings
    assert reading.memory_available_bytes == pytest.approx(memory.available(), rel=0.2)
    assert reading.at_s >= 0
    assert reading.load_1m is not None


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "std::bad_alloc",
        "Failed to allocate memory for requested buffer of size 1",
        "Unable to allocate 2.00 GiB for an array with shape (268435456,)",
    ],
)
def test_engines_words_for_no_memory_are_known(words: str) -> None:
    assert memory.mentions_out_of_memory(words)


def test_other_messages_do_not_match() -> None:
    assert not memory.mentions_out_of_memory("shape mismatch in the memory format of node 7")


def test_the_peak_can_be_reset_and_measured_again() -> None:
    program = (
        "from latency import memory\n"
        "import numpy as np\n"
        "a = np.ones(1 << 25); high = memory.peak_bytes(); del a\n"
        "memory.reset_peak(); low = memory.peak_bytes()\n"
        "b = np.ones(1 << 24); again = memory.peak_bytes()\n"
        "print(high, low, again)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    high, low, again = map(int, done.stdout.split())
    assert high - low > 200 << 20
    assert again - low > 100 << 20
    assert again < high
