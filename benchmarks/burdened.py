"""Run a command twice, without and with a busy process for every core, and print both times and their ratio.

    python benchmarks/burdened.py evim-deploy evaluate model.onnx digits

The output of the command goes to stderr. It must be able to overwrite its own files.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from evim_deploy.common.host import describe_host

_BUSY = "while True: pass"


@contextmanager
def burdened(cores: int) -> Iterator[None]:
    """Context manager that runs a busy process on each core, at normal priority."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def timed(command: Sequence[str]) -> tuple[float, float]:
    """The elapsed time and the CPU time of a command, seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    command, cores = sys.argv[1:], describe_host().cores
    idle, idle_cpu = timed(command)
    with burdened(cores):
        busy, busy_cpu = timed(command)
    sys.stdout.write(
        f"idle {idle:.1f} s ({idle_cpu:.1f} s of processor time), "
        f"burdened {busy:.1f} s ({busy_cpu:.1f} s): {busy / idle:.1f} times\n"
    )


if __name__ == "__main__":
    main()
