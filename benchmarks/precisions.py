"""A table of a model in every format and precision: size, parity, accuracy and latency.

    python benchmarks/precisions.py m4 256 benchmarks/precisions-m4.md benchmarks/cpu-quantised.json ...
    python benchmarks/precisions.py digits 64 benchmarks/precisions-digits.md benchmarks/cpu-digits.json

Artifacts are exported into a temporary folder; those of `digits`, which is trained, are evaluated. The other arguments
are results of `evim-deploy bench`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from evim_deploy.catalog.variants import DIGITS
from exporters import FORMATS


def run(*arguments: str | Path) -> str:
    """The output of an evim-deploy command."""
    command = [sys.executable, "-m", "evim_deploy", *map(str, arguments), "--quiet"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(model: str, side: str, report: str, *results: str) -> None:
    is_trained = model == DIGITS.name
    weights = [] if is_trained else ["--weights", "random"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in FORMATS.values():
            precisions = [option for precision in row.precisions for option in ("--precision", precision)]
            size = ("--resolution", side)
            run("export", model, "--format", row.name, *precisions, *size, *weights, "--output-dir", folder)
        accuracy: list[str | Path] = []
        if is_trained:
            artifacts = [path for row in FORMATS.values() for path in sorted(folder.glob(f"*{row.suffix}"))]
            document = folder / "accuracy.json"
            document.write_text(run("evaluate", *artifacts, DIGITS.name, "--json"))
            accuracy = ["--accuracy", document]
        run("report", *results, "--artifacts", folder, *accuracy, "--output", report, "--overwrite")


if __name__ == "__main__":
    main(*sys.argv[1:])
