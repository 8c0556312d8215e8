"""Queries of the first NVIDIA GPU by ``nvidia-smi``, without PyTorch."""

from __future__ import annotations

import shutil
import subprocess

_TOOL = "nvidia-smi"


def has_driver() -> bool:
    """Whether the NVIDIA driver's tool is installed."""
    return shutil.which(_TOOL) is not None


def query(*fields: str) -> list[str]:
    """Query fields of the first GPU; values have no unit. Empty without a driver, or if the query fails.

    Args:
        fields: Names that ``nvidia-smi --help-query-gpu`` lists.
    """
    if not has_driver():
        return []
    line = [_TOOL, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    output = subprocess.run(line, capture_output=True, text=True, check=False)
    first = next(iter(output.stdout.strip().splitlines()), "")
    return [value.strip() for value in first.split(",")] if output.returncode == 0 and first else []
