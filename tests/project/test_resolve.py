"""Every extra resolves on every Python, and constraints.txt is one of the results.

uv resolves in a second; pip takes half a minute and downloads packages. ``python tests/support/resolve.py`` uses pip.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from resolve import ROOT, extras, resolve
from uv import find_uv_bin

PYTHONS = ("3.11", "3.12", "3.13")
CONSTRAINTS = ROOT / "constraints.txt"


def resolved(folder: Path, python: str, *options: str | Path) -> dict[str, str]:
    """The resolved version of each package."""
    line = [find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    line += ["--python", sys.executable]  # otherwise uv requires an interpreter of the requested version
    answer = subprocess.run(
        [*line, *options, ROOT / "pyproject.toml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return dict(line.partition(" ")[0].split("==") for line in answer.stdout.splitlines())


Answers = dict[tuple[str, str], Future[dict[str, str]]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """Resolved versions by extra and Python; ``all extras`` uses the constraints.

    Eight processes run in parallel, because uv mostly waits for the index.
    """
    folder = tmp_path_factory.mktemp("resolve")
    cases = {extra: ("--extra", extra) for extra in extras()}
    cases["all extras"] = ("--all-extras", "--constraint", str(CONSTRAINTS))
    with ThreadPoolExecutor(8) as pool:
        yield {
            (name, python): pool.submit(resolved, folder, python, *options)
            for name, options in cases.items()
            for python in PYTHONS
        }


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", extras())
def test_extra_resolves(extra: str, python: str, answers: Answers) -> None:
    versions = answers[extra, python].result()
    assert versions["numpy"].startswith("2.3.")
    assert ("torch" in versions) == (extra != "plot")
    assert "onnx2tf" not in versions


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_contain_all_resolved_versions(python: str, answers: Answers) -> None:
    known = {line.partition(" ")[0] for line in CONSTRAINTS.read_text().splitlines()}
    versions = answers["all extras", python].result()
    assert {f"{name}=={version}" for name, version in versions.items()} <= known


def program(folder: Path, log: str, code: int = 0) -> list[str | Path]:
    """Write a fake pip with this log and exit code and an empty report; return its command."""
    path = folder / "pip.py"
    path.write_text(
        "import sys, pathlib\n"
        "told = dict(zip(sys.argv[1:], sys.argv[2:]))\n"
        f"pathlib.Path(told['--log']).write_text({log!r})\n"
        "pathlib.Path(told['--report']).write_text('{\"install\": []}')\n"
        f"sys.exit({code})\n"
    )
    return ["python3", path]


@pytest.mark.parametrize(
    ("log", "code", "ended"),
    [
        ("Collecting numpy", 0, "resolved"),
        ("INFO: pip is looking at multiple versions of numpy to determine", 0, "went back"),
        ("ERROR: ResolutionImpossible", 1, "exit 1"),
    ],
)
def test_resolve_detects_backtracking_of_pip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: str, code: int, ended: str
) -> None:
    assert resolve(program(tmp_path, log, code), "onnx", tmp_path) == (ended == "resolved")
    assert capsys.readouterr().out.rstrip().endswith(ended)
