"""A description of this host."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostDescription:
    """The description of a host.

    Attributes:
        system: Operating system, its version and architecture.
        processor: Name of the processor.
        cores: Number of logical cores that this process may use.
        python: Version of Python.
    """

    system: str
    processor: str
    cores: int
    python: str


def describe_host() -> HostDescription:
    """The host of this process."""
    return HostDescription(
        f"{platform.system()} {platform.release()} {platform.machine()}",
        _processor(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        platform.python_version(),
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return sysctl("machdep.cpu.brand_string") or platform.processor() or "unknown"


def sysctl(name: str) -> str:
    """A value of macOS's ``sysctl``; empty on other systems."""
    if platform.system() != "Darwin":
        return ""
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()
