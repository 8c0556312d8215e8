"""The packages that latency measurement and its reports need, whatever engine is timed."""

from __future__ import annotations

import importlib.util

from evim_deploy.common.errors import NotInstalled

_MEASURING = ("psutil", "pydantic")
_REPORTING = ("jinja2", "matplotlib", "scipy")


def require_measuring() -> None:
    """Check, without importing them, that the packages for measuring and writing a results file are installed.

    Raises:
        NotInstalled: A package is missing.
    """
    _require(_MEASURING)


def require_reporting() -> None:
    """Check, without importing them, that the packages for measuring, judging and reporting are installed.

    Raises:
        NotInstalled: A package is missing.
    """
    _require((*_MEASURING, *_REPORTING))


def _require(packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalled(f"Latency needs {', '.join(missing)}.", 'pip install "evim-deploy[bench]"')
