"""Where onnx2tf is installed: an environment of its own, since it pins some twenty packages exactly.

The first of these places that has onnx2tf counts:

1. what the variable ``EVIM_DEPLOY_ONNX2TF`` names: an environment's folder, or its ``onnx2tf`` or ``python``
2. ``onnx2tf`` beside the packages of this environment: ``<environment>/onnx2tf``
3. ``onnx2tf`` on ``PATH``
4. the tools of pipx and of uv, whether or not their programs are on ``PATH``
5. this environment itself

Nothing is installed here. A place is asked for its versions by its own Python, without importing onnx2tf.

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
"""In 2.x TensorFlow is an extra; 1.29, which pip takes on Python 3.11, has no such extra and needs it anyway."""

_NAME = "onnx2tf"
_OLDEST, _TOO_NEW = (1, 29), (3,)
_REINSTALL = f"Install it again: {INSTALL}, each with --force."
_PATIENCE = 60  # seconds; it takes a tenth of one
_VERSIONS = """
import json
from importlib.metadata import distributions
names = ("onnx2tf", "tensorflow")
print(json.dumps([next((found.version for found in distributions(name=name)), None) for name in names]))
"""


@dataclass(frozen=True)
class Environment:
    """An environment that has onnx2tf and the TensorFlow that it converts with.

    Attributes:
        python: Its interpreter, an absolute path.
        version: Version of onnx2tf, 1.29 or 2.x.
        tensorflow: Version of TensorFlow.
    """

    python: Path
    version: str
    tensorflow: str


def find() -> Environment:
    """Find the environment of onnx2tf on this host.

    Raises:
        NotInstalled: There is none, the variable names something without onnx2tf, or the one found cannot be used.
    """
    if named := os.environ.get(VARIABLE):
        if found := _examine(Path(named).expanduser()):
            return found
        raise NotInstalled(
            f"{VARIABLE} is {named}, which has no onnx2tf.",
            f"Name an environment that has it, or unset the variable and run {INSTALL}.",
        )
    if found := next(filter(None, map(_examine, _places())), None):
        return found
    raise NotInstalled(MISSING, INSTALL)


def _places() -> Iterator[Path]:
    """Folders and programs to look at, whether they exist or not, the first choice first."""
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


def _examine(place: Path) -> Environment | None:
    """The environment at a place; None where it has no onnx2tf.

    Raises:
        NotInstalled: Its Python does not run, its onnx2tf is of another version, or it lacks TensorFlow.
    """
    python = _python(place)
    if python is None:
        return None
    version, tensorflow = _versions(python)
    if version is None:
        return None
    if not _OLDEST <= _release(version) < _TOO_NEW:
        raise NotInstalled(f"onnx2tf {version} ({python}) is not supported: 1.29 and 2.x are.", _REINSTALL)
    if tensorflow is None:
        raise NotInstalled(f"onnx2tf {version} ({python}) lacks TensorFlow, which it converts with.", _REINSTALL)
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


def _python(place: Path) -> Path | None:
    """The interpreter of an environment's folder, or of a program in it; None where there is none."""
    if place.is_dir():
        programs = place / "bin"
    elif not place.is_file():
        return None
    elif place.name.startswith("python"):
        return place.absolute()  # and not what it links to: it knows its environment by its own path
    else:
        programs = place.resolve().parent
    found = (programs.absolute() / name for name in ("python", "python3"))
    return next((each for each in found if os.path.lexists(each)), None)  # a broken link is told by running it


def _release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 1.29.24 -> (1, 29, 24)."""
    return tuple(int(part) for part in takewhile(str.isdecimal, version.split(".")))
