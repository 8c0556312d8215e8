"""Versions of installed packages, read without importing them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from evim_deploy import __version__


def installed_version(package: str) -> str | None:
    """Version of a package by its name on the package index; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def tool_versions(*packages: str) -> dict[str, str]:
    """Versions of evim-deploy, Python, the platform and those of the packages that are installed, by name."""
    installed = {package: installed_version(package) for package in packages}
    return {
        "evim-deploy": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: text for package, text in installed.items() if text is not None},
    }
