"""The machine that something runs on, in words."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A host: its operating system, its processor and how many logical cores may be used."""

    system: str
    processor: str
    cores: int
    python: str


def describe_host() -> Environment:
    """The host that this process runs on."""
    return Environment(
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
    """What macOS says of itself; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False).stdout.strip()
