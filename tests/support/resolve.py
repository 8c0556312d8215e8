"""Resolve each extra with pip without constraints: number of packages, time, and whether pip backtracked.

The pip is the one of a new virtual environment of this Python. It downloads wheels if the index lacks separate
metadata, so processor time measures the resolution better than wall-clock time.

    python tests/support/resolve.py [EXTRA ...]
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
WENT_BACK = re.compile(r"looking at multiple versions|conflict", re.IGNORECASE)


def extras() -> list[str]:
    """The extras in pyproject.toml."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def resolve(pip: Sequence[str | Path], extra: str, folder: Path) -> bool:
    """Resolve an extra and print its row of the table.

    Returns:
        Whether pip resolved the extra without backtracking.
    """
    report, log = folder / "report.json", folder / "log.txt"
    line = [
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        report,
        "--log",
        log,
        f"{ROOT}[{extra}]",
    ]
    log.unlink(missing_ok=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run([*pip, *line, f"{ROOT}[{extra}]"], check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    count = len(json.loads(report.read_text())["install"]) if code == 0 else 0
    went_back = bool(WENT_BACK.search(log.read_text()))
    ended = "went back" if went_back else "resolved" if code == 0 else f"exit {code}"
    print(f"{extra:<10} {count:>8} {processor:>12.0f} {time.monotonic() - started:>10.0f}   {ended}", flush=True)  # noqa: T201
    return code == 0 and not went_back


def main(chosen: Sequence[str]) -> int:
    """Resolve the extras in order; return exit code 1 if any of them fails or backtracks."""
    with tempfile.TemporaryDirectory(prefix="evim-resolve-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "--version"], check=True)
        print(f"{'extra':<10} {'packages':>8} {'processor s':>12} {'wall s':>10}", flush=True)  # noqa: T201
        rows = [resolve(pip, extra, folder) for extra in chosen or extras()]
        return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
