"""What the harness itself needs, whatever it times."""

from __future__ import annotations

import importlib.util

from evim_deploy.common.errors import NotInstalled

_MEASURES = ("psutil", "pydantic")
_REPORTS = ("jinja2", "matplotlib", "scipy")


def require_measuring() -> None:
    """Check, without importing it, that the packages that measure and write a results file are installed.

    Raises:
        NotInstalled: Something is missing.
    """
    _require(_MEASURES)


def require_reporting() -> None:
    """Check, without importing it, that the packages that judge and report are installed, too.

    Raises:
        NotInstalled: Something is missing.
    """
    _require((*_MEASURES, *_REPORTS))


def _require(packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalled(f"Latency needs {', '.join(missing)}.", 'pip install "evim-deploy[bench]"')
