"""Memory: what a process may use, what it uses at most, and how an engine says that there is no more.

On Linux a worker is held to its limit by the kernel (``RLIMIT_DATA``, setrlimit(2): what is written
privately, not mapped libraries), so that memory runs out as an error in the process that asked for too much,
and not as the death of whatever the kernel picks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from latency import gpu

SHARE = 0.85
"""Of the memory that is available, what the workers of a run may use."""

_CGROUP = Path("/sys/fs/cgroup")
_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs")  # proc(5): 5 resets VmHWM

_REFUSALS = re.compile(
    r"out of memory|can(no|')t allocate memory|bad_alloc|failed to allocate|not enough memory|unable to allocate"
    r"|could not create a memory|std::length_error|ALLOC_FAILED|unable to find an engine to execute this computation",
    re.IGNORECASE,
)


def available() -> int:
    """Bytes that processes here can still be given: the machine's, or what is left of the container's."""
    import psutil

    machine = int(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return machine
    statistics = (_CGROUP / "memory.stat").read_text()
    found = re.search(r"^inactive_file (\d+)", statistics, re.MULTILINE)  # cached files, which the kernel gives back
    return min(machine, limit - used + (int(found[1]) if found else 0))


def gpu_bytes() -> tuple[int, int]:
    """Memory of the GPU that is in use, by all processes, and that is free; zeros without a driver."""
    used, free = (int(mebibytes) << 20 for mebibytes in gpu.query("memory.used", "memory.free") or (0, 0))
    return used, free


def limit_process(limit_bytes: int) -> None:
    """Hold this process to a limit, where the host can."""
    if can_limit():
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def can_limit() -> bool:
    """Whether this host can hold a process to a limit."""
    return sys.platform == "linux"


def says_no_memory(text: str) -> bool:
    """Whether an engine's message says that it was refused memory."""
    return _REFUSALS.search(text) is not None


def was_refused(error: BaseException) -> bool:
    """Whether an error says that memory was refused."""
    return isinstance(error, MemoryError) or says_no_memory(str(error))


def reset_peak() -> None:
    """Forget the highest memory of this process so far, where the host can."""
    try:
        _FORGET_PEAK.write_text("5")
    except OSError:
        return


def resident_bytes() -> int:
    """Resident memory of this process now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Highest resident memory of this process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if found is not None:
        return int(found[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def shared_bytes() -> int:
    """Resident memory that other processes share with this one, such as libraries; 0 where the host does not tell."""
    found = re.search(r"RssFile:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    return int(found[1]) * 1024 if found else 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
