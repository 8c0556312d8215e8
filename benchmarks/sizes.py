"""The time and memory of ``evim-deploy export``, with the parity check, by format and resolution.

    python benchmarks/sizes.py m4 224 512 1024 2048 4096

Each export is a process of its own; its peak memory is the operating system's figure for the process and its children.
The output is a Markdown table for docs/README.md.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context

from exporters import FORMATS


def measured(model: str, format_: str, side: str) -> tuple[float, float, str]:
    """Time in seconds, peak memory in GiB and parity status of an export, in its format's default precision."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--format", format_, "--resolution", side, "--weights", "random", "--output-dir", folder, "--json"]
        begun = time.monotonic()
        command = [sys.executable, "-m", "evim_deploy", "export", model, *options, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    (artifact,) = json.loads(done.stdout)["artifacts"]
    return seconds, peak, artifact["parity"]["status"]


def main(model: str, *sides: str) -> None:
    print(f"| {model} | " + " | ".join(FORMATS) + " |")  # noqa: T201
    print("|---" * (1 + len(FORMATS)) + "|")  # noqa: T201
    for side in sides:
        cells = []
        for format_ in FORMATS:
            with get_context("spawn").Pool(1) as pool:  # RUSAGE_CHILDREN counts only its children
                seconds, peak, status = pool.apply(measured, (model, format_, side))
            cells.append(f"{seconds:.0f} s, {peak:.1f} GiB, {status}")
        print(f"| {side}x{side} | " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
