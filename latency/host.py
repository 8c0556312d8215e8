"""The machine of a run, as the results file tells it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

from evim_deploy.tools import tool_versions
from latency.environment import describe_host, sysctl
from latency.results import Host

_PRODUCT = Path("/sys/class/dmi/id/product_name")
_GPU_QUERY = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]


def host(packages: Iterable[str]) -> Host:
    """This machine, with the versions of the packages that a run uses."""
    environment = describe_host()
    return Host(
        system=environment.system,
        machine=_machine(),
        processor=environment.processor,
        cores=environment.cores,
        memory_bytes=psutil.virtual_memory().total,
        accelerator=_accelerator(),
        packages=tool_versions("numpy", *sorted(packages)),
    )


def _machine() -> str:
    """The product's name where the system tells one, else the architecture."""
    try:
        product = _PRODUCT.read_text().strip()
    except OSError:
        product = sysctl("hw.model")
    return product or platform.machine()


def _accelerator() -> str | None:
    if shutil.which(_GPU_QUERY[0]) is None:
        return None
    answer = subprocess.run(_GPU_QUERY, capture_output=True, text=True, check=False)
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else None
