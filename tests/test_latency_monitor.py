"""What the machine tells: who took the processor, and what memory there is."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from latency import memory
from latency.monitor import Monitor

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


def burn(seconds: float) -> subprocess.Popen[bytes]:
    """A process that takes so much of the processor."""
    return subprocess.Popen([sys.executable, "-c", BURN.format(seconds)])


def test_what_others_take_is_told_from_what_the_run_takes() -> None:
    """A worker's own work is no disturbance, whether it lives or has ended; the same work of a stranger is."""
    shares = []
    for ends, is_worker in ((True, True), (False, True), (False, False)):
        monitor = Monitor()
        process = burn(1.0 if ends else 60)
        time.sleep(0.05)
        if ends:
            process.wait()
        else:
            time.sleep(1.0)
        monitor.read("during", [process.pid] if is_worker else [])
        shares.append(monitor.readings[0].others_share)
        process.kill()
        process.wait()
    ended, living, stranger = shares
    assert ended is not None
    assert living is not None
    assert stranger is not None
    assert stranger > 0.5
    assert max(ended, living) < stranger - 0.4


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
    assert memory.says_no_memory(words)


def test_other_words_are_not_taken_for_them() -> None:
    assert not memory.says_no_memory("shape mismatch in the memory format of node 7")


def test_the_peak_can_be_forgotten_and_is_taken_anew() -> None:
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
