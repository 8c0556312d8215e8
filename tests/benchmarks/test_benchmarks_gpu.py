"""benchmarks/gpu.sh: its steps on the CPU, and its messages on steps that fail, end early or are not reached."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from latency.report.build import build
from latency.results import read_results

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
LIMIT_S = 480
MOST_FILES = 8
STEPS = re.findall(r"^step (\S+) +(\S+)", SCRIPT.read_text("utf-8"), re.MULTILINE)
NAMES = [name for name, _ in STEPS]

PYTHON = """#!/usr/bin/env bash
# Answers for python3: what a step comes to is read from a file of its name.
while (($#)); do
    [[ $1 == --output ]] && file=$2
    shift
done
[[ -v file ]] || exit 0
read -r code content <"$PLAN/$(basename "$file" .json)" || exit 0
[[ $content ]] && echo "$content" >"$file"
exit "$code"
"""

TIMEOUT = """#!/usr/bin/env bash
# Answers for timeout: notes the seconds, and runs the command without a limit.
while [[ $1 == -* ]]; do
    [[ $1 == --kill-after ]] && { kill=$2; shift; }
    shift
done
echo "$1 $kill" >>"$PLAN/seconds"
exec "${@:2}"
"""


class Machine:
    """A folder with fakes of python3 and timeout.

    Attributes:
        out: Where results go.
    """

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._folder = folder
        for name in ("wheels", "plan", "bin"):
            (folder / name).mkdir()
        for name, program in (("python", PYTHON), ("timeout", TIMEOUT)):
            path = folder / "bin" / name
            path.write_text(program)
            path.chmod(0o755)

    def run(self, outcomes: dict[str, str], **variables: str) -> tuple[int, dict[str, str], list[list[int]]]:
        """The exit code, a word for each step, and each step's time limit and time until it is killed, seconds."""
        plan = self._folder / "plan"
        for name in NAMES:
            (plan / f"gpu-{name}").write_text(outcomes.get(name, '0 {"complete": true}') + "\n")
        own = {"PYTHON": str(self._folder / "bin" / "python"), "PLAN": str(plan), "OUT": str(self.out)}
        path = f"{self._folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(SCRIPT), str(self._folder / "wheels")],
            env={**os.environ, **own, "PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        told = re.findall(r"^(complete|in part|incomplete|failed|not run) +([\w-]+):", done.stdout, re.MULTILINE)
        noted = plan / "seconds"
        seconds = noted.read_text().splitlines() if noted.exists() else []
        return done.returncode, {name: word for word, name in told}, [list(map(int, each.split())) for each in seconds]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_steps_are_run_within_the_limit(machine: Machine) -> None:
    code, told, seconds = machine.run({})
    assert (code, told) == (0, dict.fromkeys(NAMES, "complete"))
    assert len(NAMES) <= MOST_FILES
    # the first has its share, less what checking took; the last may take all that is left, and until it is killed
    assert 0 < seconds[0][0] <= int(STEPS[0][1])
    assert max(limit + kill for limit, kill in seconds) <= LIMIT_S
    assert sum(int(share) for _, share in STEPS) == 470


def test_a_step_that_fails_stops_no_other(machine: Machine) -> None:
    incomplete = '0 {"complete": false}'
    outcomes = {"figure-3": "3", "resolution": incomplete, "layouts": '5 {"complete": true}', "compiled": "124"}
    code, told, _ = machine.run(outcomes)
    words = {"figure-3": "failed", "resolution": "incomplete", "layouts": "in part", "compiled": "failed"}
    assert code == 1
    assert told == dict.fromkeys(NAMES, "complete") | words


def test_an_earlier_result_is_not_mistaken_for_a_new_one(machine: Machine) -> None:
    machine.run({})
    _, told, _ = machine.run({"layouts": "1"})
    assert told["layouts"] == "failed"
    assert sorted(path.name for path in machine.out.iterdir()) == sorted(
        f"gpu-{name}.json" for name in NAMES if name != "layouts"
    )


def test_without_time_nothing_is_begun(machine: Machine) -> None:
    code, told, seconds = machine.run({}, TOTAL="20")
    assert (code, told, seconds) == (1, dict.fromkeys(NAMES, "not run"), [])
    assert list(machine.out.iterdir()) == []


def test_some_steps_alone_have_the_time_of_the_others(machine: Machine) -> None:
    code, told, seconds = machine.run({}, STEPS="figure-3 layouts")
    assert (code, told) == (0, dict.fromkeys(("figure-3", "layouts"), "complete"))
    shares = {name: int(share) for name, share in STEPS[:-1]}
    assert shares["figure-3"] < seconds[0][0] <= sum(shares[name] for name in NAMES[: NAMES.index("figure-3") + 1])
    assert machine.run({}, STEPS="figure-4") == (2, {}, seconds)


def test_another_device_is_refused(machine: Machine) -> None:
    assert machine.run({}, DEVICE="tpu") == (2, {}, [])


def _blocked_wheel(folder: Path) -> Path:
    """A wheel that hides all packages from Python except for those that a machine with a GPU has or installs."""
    source = """import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in ("scipy", "matplotlib", "onnx", "onnxruntime", "openvino", "tensorflow", "coremltools"):
            return None
        return super().find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
    path = folder / "blocked-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("sitecustomize.py", source)
        wheel.writestr("blocked-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: blocked\nVersion: 1\n")
        wheel.writestr("blocked-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("blocked-1.dist-info/RECORD", "")
    return path


def test_the_blocked_packages_are_found_nowhere(tmp_path: Path) -> None:
    """The hidden packages behave as if not installed: a search returns None, and an import fails."""
    with zipfile.ZipFile(_blocked_wheel(tmp_path)) as wheel:
        wheel.extractall(tmp_path)
    program = "from importlib.util import find_spec; print(find_spec('onnx'), find_spec('numpy').name); import onnx"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "None numpy\n"
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'onnx'\n")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(("resolution",), marks=pytest.mark.slow),
        pytest.param(("efficientvim", "figure-3", "layouts"), marks=pytest.mark.exhaustive),
    ],
    ids="-".join,
)
def test_the_same_steps_run_on_the_processor(tmp_path: Path, steps: tuple[str, ...]) -> None:
    """The script runs with wheels if pip is installed, and without the packages of reports and other engines.

    The steps of Table 3 are like the first; what is compiled is in test_latency_engines.py, and takes a minute.
    """
    wheels, out = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    # importlib.util.find_spec("pip") would make setuptools' import hook keep the standard library's distutils. A later
    # import of setuptools in this process then fails, as in torch.compile.
    if any(importlib.metadata.distributions(name="pip")):
        _blocked_wheel(wheels)
    variables = {"DEVICE": "cpu", "STEPS": " ".join(steps), "PYTHON": sys.executable, "OUT": str(out)}
    done = subprocess.run(
        ["bash", str(SCRIPT), str(wheels)], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = {path.stem.removeprefix("gpu-"): read_results(path) for path in out.iterdir()}
    assert sorted(files) == sorted(steps)
    for name, results in files.items():
        assert results.complete
        for case in results.cases:
            assert case.outcome == "measured"
            assert len(case.rounds) == (1 if name == "resolution" else 5)
            if case.role == "contender":
                assert case.memory is not None
                assert case.check is not None
                assert case.check.status == "equal"
    figures = build(list(files.values())).figures
    assert figures.rows
    own = {name: [each for each in found.cases if each.role == "contender"] for name, found in files.items()}
    if "resolution" in own:
        assert {each.height for each in own["resolution"]} == {32, 64}
        return
    baseline = next(each for each in own["efficientvim"] if each.subject.name == "efficientvim_m1")
    assert "reparameterised by timm" in baseline.subject.form
    assert all(each.breakdown for each in own["figure-3"])
    assert {each.mode for each in own["layouts"]} == {"channels-first", "channels-last"}
    model = [column.key for column in figures.columns].index("model")
    assert {"efficientvim_m1", "HSM-SSD multi-head"} <= {row.cells[model].value for row in figures.rows}
