"""Find the environment of onnx2tf, which is separate because onnx2tf pins some twenty packages exactly.

The first of these locations with onnx2tf is used:

1. the value of the variable ``EVIM_DEPLOY_ONNX2TF``: an environment's folder, or its ``onnx2tf`` or ``python``
2. ``onnx2tf`` beside the packages of this environment: ``<environment>/onnx2tf``
3. ``onnx2tf`` on ``PATH``
4. the tools of pipx and of uv, whether or not their programs are on ``PATH``
5. this environment itself

Nothing is installed here. The Python of a location reports the versions, without importing onnx2tf.

pipx: https://pipx.pypa.io/stable/how-to/configure-paths/, uv: https://docs.astral.sh/uv/reference/storage/
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from evim_deploy.common.errors import NotInstalled

MISSING = "onnx2tf, which converts other networks to tflite, is not installed."
VARIABLE = "EVIM_DEPLOY_ONNX2TF"
INSTALL = 'pipx install "onnx2tf[tensorflow]" or uv tool install "onnx2tf[tensorflow]"'
"""In 2.x TensorFlow is an extra; 1.29, which pip selects on Python 3.11, always requires it."""

_NAME = "onnx2tf"
_OLDEST, _TOO_NEW = (1, 29), (3,)
_REINSTALL = f"Install it again: {INSTALL}, each with --force."
_PATIENCE = 60  # seconds; usually it takes 0.1 s
_VERSIONS = """
import json
from importlib.metadata import distributions
names = ("onnx2tf", "tensorflow")
print(json.dumps([next((each.version for each in distributions(name=name)), None) for name in names]))
"""


@dataclass(frozen=True)
class Environment:
    """An environment with onnx2tf and the TensorFlow that onnx2tf uses.

    Attributes:
        python: Absolute path of the interpreter.
        version: Version of onnx2tf, 1.29 or 2.x.
        tensorflow: Version of TensorFlow.
    """

    python: Path
    version: str
    tensorflow: str


def find() -> Environment:
    """Find the environment of onnx2tf on this host.

    Raises:
        NotInstalled: No environment has onnx2tf, the variable names a location without it, or it is unusable.
    """
    if named := os.environ.get(VARIABLE):
        if environment := _examine(Path(named).expanduser()):
            return environment
        raise NotInstalled(
            f"{VARIABLE} is {named}, which has no onnx2tf.",
            f"Set it to an environment with onnx2tf, or unset the variable and run {INSTALL}.",
        )
    if environment := next(filter(None, map(_examine, _locations())), None):
        return environment
    raise NotInstalled(MISSING, INSTALL)


def _locations() -> Iterator[Path]:
    """Yield the candidate folders and programs in order of preference, existing or not."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    pipx = (data / "pipx", home / ".local/pipx", home / "Library/Application Support/pipx")
    yield Path(sys.prefix, _NAME)
    if program := shutil.which(_NAME):
        yield Path(program)
    for folder in _set_by("PIPX_HOME") or pipx:
        yield folder / "venvs" / _NAME
    for folder in _set_by("UV_TOOL_DIR") or (data / "uv/tools",):
        yield folder / _NAME
    yield Path(sys.prefix)


def _set_by(variable: str) -> tuple[Path, ...]:
    return tuple(Path(value).expanduser() for value in filter(None, [os.environ.get(variable)]))


def _examine(location: Path) -> Environment | None:
    """Return the environment at a location; None if it has no onnx2tf.

    Raises:
        NotInstalled: Its Python does not run, its onnx2tf has an unsupported version, or TensorFlow is missing.
    """
    python = _python(location)
    if python is None:
        return None
    version, tensorflow = _versions(python)
    if version is None:
        return None
    if not _OLDEST <= _release(version) < _TOO_NEW:
        raise NotInstalled(f"onnx2tf {version} ({python}) is not supported; use 1.29 or 2.x.", _REINSTALL)
    if tensorflow is None:
        raise NotInstalled(f"onnx2tf {version} ({python}) lacks TensorFlow, which it requires.", _REINSTALL)
    return Environment(python, version, tensorflow)


@functools.cache
def _versions(python: Path) -> tuple[str | None, str | None]:
    """The versions of onnx2tf and TensorFlow in an interpreter's environment; each interpreter runs once a process.

    Raises:
        NotInstalled: The interpreter does not run.
    """
    try:
        answer = subprocess.run(
            [python, "-I", "-c", _VERSIONS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
        )
        version, tensorflow = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        raise NotInstalled(f"The Python of onnx2tf, {python}, does not run.", _REINSTALL) from None
    return version, tensorflow


def _python(location: Path) -> Path | None:
    """Return the interpreter of an environment's folder, or of a program in it; None if it has none."""
    if location.is_dir():
        programs = location / "bin"
    elif not location.is_file():
        return None
    elif location.name.startswith("python"):
        return location.absolute()  # not the link's target: Python finds its environment by its own path
    else:
        programs = location.resolve().parent
    interpreters = (programs.absolute() / name for name in ("python", "python3"))
    return next((each for each in interpreters if os.path.lexists(each)), None)  # running it reports a broken link


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 1.29.24 -> (1, 29, 24)."""
    return tuple(int(part) for part in takewhile(str.isdecimal, version.split(".")))
