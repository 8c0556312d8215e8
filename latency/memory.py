"""Memory of processes: limits, peaks, and the messages of engines that run out of it.

On Linux the kernel limits the memory of a worker (``RLIMIT_DATA``, setrlimit(2): private writable memory, without
mapped libraries), so that the process that asks for too much gets an error, instead of the kernel killing any process.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from latency import gpu

WORKER_SHARE = 0.85
"""Share of the available memory that the workers of a run may use."""

_CGROUP = Path("/sys/fs/cgroup")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")  # proc(5): 5 resets VmHWM

_REFUSALS = re.compile(
    r"out of memory|can(no|')t allocate memory|bad_alloc|failed to allocate|not enough memory|unable to allocate"
    r"|could not create a memory|std::length_error|ALLOC_FAILED|unable to find an engine to execute this computation",
    re.IGNORECASE,
)


def available() -> int:
    """Available memory of the machine, or of the container if that is less, bytes."""
    import psutil

    machine = int(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return machine
    statistics = (_CGROUP / "memory.stat").read_text()
    cached = re.search(r"^inactive_file (\d+)", statistics, re.MULTILINE)  # file cache, which the kernel reclaims
    return min(machine, limit - used + (int(cached[1]) if cached else 0))


def gpu_bytes() -> tuple[int, int]:
    """Memory of the GPU, bytes: used by all processes, and free; zeros without a driver."""
    used, free = (int(mebibytes) << 20 for mebibytes in gpu.query("memory.used", "memory.free") or (0, 0))
    return used, free


def limit_process(limit_bytes: int) -> None:
    """Limit the memory of this process, if the host supports it."""
    if can_limit():
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def can_limit() -> bool:
    """Whether this host can limit the memory of a process."""
    return sys.platform == "linux"


def mentions_out_of_memory(text: str) -> bool:
    """Whether an engine's message reports that memory ran out."""
    return _REFUSALS.search(text) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that memory ran out."""
    return isinstance(error, MemoryError) or mentions_out_of_memory(str(error))


def reset_peak() -> None:
    """Reset the peak memory of this process, if the host supports it."""
    try:
        _RESET_PEAK.write_text("5")
    except OSError:
        return


def resident_bytes() -> int:
    """Resident memory of this process, bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Peak resident memory of this process, bytes."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if peak is not None:
        return int(peak[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def shared_bytes() -> int:
    """Resident memory shared with other processes, such as libraries, bytes; 0 if the host does not report it."""
    shared = re.search(r"RssFile:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    return int(shared[1]) * 1024 if shared else 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
