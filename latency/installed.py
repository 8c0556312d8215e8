"""What the harness itself needs, whatever it times."""

from __future__ import annotations

import importlib.util

from evim_deploy.errors import NotInstalled

_REQUIRES = ("jinja2", "matplotlib", "psutil", "pydantic", "scipy")


def require_harness() -> None:
    """Check, without importing it, that what measures, judges and reports is installed.

    Raises:
        NotInstalled: Something is missing.
    """
    missing = [name for name in _REQUIRES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotInstalled(f"Latency needs {', '.join(missing)}.", 'pip install "evim-deploy[bench]"')
