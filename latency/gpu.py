"""What NVIDIA's driver tells of the first GPU, by its own tool: nothing here imports PyTorch."""

from __future__ import annotations

import shutil
import subprocess

_TOOL = "nvidia-smi"


def has_driver() -> bool:
    """Whether there is a driver to ask."""
    return shutil.which(_TOOL) is not None


def query(*fields: str) -> list[str]:
    """The values of some fields, without their units; empty where there is no driver or it does not tell.

    Args:
        fields: As ``nvidia-smi --help-query-gpu`` lists them.
    """
    if not has_driver():
        return []
    line = [_TOOL, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(line, capture_output=True, text=True, check=False)
    first = next(iter(answer.stdout.strip().splitlines()), "")
    return [value.strip() for value in first.split(",")] if answer.returncode == 0 and first else []
