"""Run the command line in a separate process, without a hub and without the user's settings.

:func:`run` uses a fork of a process that has already imported the packages of the commands. Tests of the environment,
of limits or of signals start the program itself.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

import command_server
from filelock import FileLock

PROGRAM = Path(sys.executable).with_name("evim-deploy")
NO_HUB = "http://127.0.0.1:1"
UNTRAINED = "UNTRAINED"
SCHEMA_VERSION = 2

_TIMEOUT_SECONDS = 300
_SETTINGS = ("HF_", "HUGGINGFACE_", "TYPER_", "COV_", "PYTHON")


def run(*args: str | Path, timeout: float = _TIMEOUT_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run ``evim-deploy`` in a fork of the server, and wait for its exit."""
    with tempfile.TemporaryDirectory(prefix="evim-run-") as name:
        streams = {stream: f"{name}/{stream}" for stream in ("stdout", "stderr")}
        for path in streams.values():
            Path(path).touch()
        request = {"line": _line(args), "cwd": str(Path.cwd()), "env": _environment(), "timeout": timeout, **streams}
        code = _server().answer(request)
        return subprocess.CompletedProcess(
            _line(args), code, **{stream: Path(path).read_text() for stream, path in streams.items()}
        )


def run_program(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT_SECONDS,
    preexec_fn: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the installed program and wait for its exit; ``env`` extends an environment without a hub."""
    return subprocess.run(
        _line(args), env=_environment(env), timeout=timeout, preexec_fn=preexec_fn, capture_output=True, text=True
    )


def interrupt(*args: str | Path, at: str, by: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Run ``evim-deploy`` and send it a signal as soon as a line of stderr contains ``at``."""

    def heed() -> None:
        # background jobs of a shell ignore SIGINT, and their children inherit this
        signal.signal(by, signal.SIG_DFL)

    with subprocess.Popen(
        _line(args),
        env=_environment(),
        preexec_fn=heed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        lines = []
        for line in process.stderr:
            lines.append(line)
            if at in line:
                process.send_signal(by)
                break
        stdout, stderr = process.communicate(timeout=_TIMEOUT_SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, "".join(lines) + stderr)


def assert_done(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr


def assert_refused(result: subprocess.CompletedProcess[str], code: int, *fragments: str) -> None:
    """Check that stderr ends in one message with cause and remedy; with ``--json`` stdout has the same message."""
    said = result.stdout + result.stderr
    assert result.returncode == code, said
    assert "Traceback" not in said
    *progress, cause, remedy = result.stderr.splitlines()
    assert cause.startswith("Error: "), said
    assert remedy.strip(), said
    assert not remedy.startswith("Error: ")
    assert not any(line.startswith("Error: ") for line in progress)
    assert "fault in evim-deploy" not in said
    for fragment in fragments:
        assert fragment in f"{cause}\n{remedy}"
    if "--json" in result.args:
        problem = {"exit_code": code, "cause": cause.removeprefix("Error: "), "remedy": remedy}
        assert json.loads(result.stdout) == {"schema_version": SCHEMA_VERSION, "error": problem}
    else:
        assert result.stdout == ""


def left_in(folder: Path) -> list[str]:
    """All paths below a folder, including hidden files; empty if the folder does not exist."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@dataclass(frozen=True)
class Exported:
    """The output and the folder of one ``export --json``."""

    result: subprocess.CompletedProcess[str]
    folder: Path

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        artifacts: list[dict[str, Any]] = json.loads(self.result.stdout)["artifacts"]
        return artifacts

    def artifact(self, format_: str) -> dict[str, Any]:
        """The only artifact of a format."""
        (result,) = [artifact for artifact in self.artifacts if artifact["format"] == format_]
        return result

    def path(self, format_: str) -> Path:
        return Path(self.artifact(format_)["path"])


@functools.cache
def exported(base: Path, *args: str) -> Exported:
    """Export with these arguments, once for all tests and workers of a session.

    Args:
        base: The session's folder, or this worker's subfolder of it.
    """
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / f"exported-{sha256(repr(args).encode()).hexdigest()[:16]}"
    said = folder.with_suffix(".json")
    with FileLock(folder.with_suffix(".lock")):
        if not said.exists():
            shutil.rmtree(folder, ignore_errors=True)
            made = run("export", *args, "--json", "-o", folder)
            said.write_text(json.dumps(vars(made)))
    result = subprocess.CompletedProcess(**json.loads(said.read_text()))
    assert_done(result)
    return Exported(result, folder)


DEFAULTS = ("m1", "-f", "coreml", "-f", "onnx", "-f", "tflite", "-r", "64", "--verbose")
"""All formats with default options, without weights."""

FEATURES = ("EFFICIENTVIM_M1", "-f", "onnx", "-r", "64", "-w", "random", "--task", "features")


def photographs() -> list[Path]:
    """Three photographs from the test dependencies."""
    sklearn, matplotlib = (Path(find_spec(name).origin).parent for name in ("sklearn", "matplotlib"))  # type: ignore[union-attr, arg-type]
    images = sklearn / "datasets" / "images"
    return [
        images / "china.jpg",
        images / "flower.jpg",
        matplotlib / "mpl-data" / "sample_data" / "grace_hopper.jpg",
    ]


def _line(args: tuple[str | Path, ...]) -> list[str]:
    return [str(PROGRAM), *map(str, args)]


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS) and not name.lower().endswith("_proxy")
    }
    return {**own, "HF_ENDPOINT": NO_HUB, "HF_HOME": _empty_cache().name, "COLUMNS": "100", **(extra or {})}


@functools.cache
def _empty_cache() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="evim-no-hub-")  # removed at the exit of this process


class _Server:
    """The process whose forks run commands. It exits with this process, because its stdin closes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, command_server.__file__],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self, request: Mapping[str, object]) -> int:
        """Send a request and return the exit code of its run."""
        stdin, stdout = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        return int(stdout.readline())


@functools.cache
def _server() -> _Server:
    return _Server()
