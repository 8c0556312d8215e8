"""The machine of a run, as the results file tells it."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

import psutil

from evim_deploy.common.host import describe_host, sysctl
from evim_deploy.common.versions import tool_versions
from latency import gpu
from latency.results import Host

_PRODUCT = Path("/sys/class/dmi/id/product_name")


def host(packages: Iterable[str]) -> Host:
    """This machine, with the versions of the packages that a run uses."""
    environment = describe_host()
    return Host(
        system=environment.system,
        machine=_machine(),
        processor=environment.processor,
        cores=environment.cores,
        memory_bytes=psutil.virtual_memory().total,
        accelerator=", ".join(gpu.query("name", "driver_version")) or None,
        packages=tool_versions("numpy", *sorted(packages)),
    )


def _machine() -> str:
    """The product's name where the system tells one, else the architecture."""
    try:
        product = _PRODUCT.read_text().strip()
    except OSError:
        product = sysctl("hw.model")
    return product or platform.machine()
