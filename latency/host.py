"""The record of the host in a results file."""

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


def host_record(packages: Iterable[str]) -> Host:
    """Describe this host, with the versions of some packages.

    Args:
        packages: Names on the package index.
    """
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
    """The product name of the computer, or the architecture if the system does not provide one."""
    try:
        product = _PRODUCT.read_text().strip()
    except OSError:
        product = sysctl("hw.model")
    return product or platform.machine()
