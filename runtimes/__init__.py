"""The engines that run an artifact: one module an engine, the same verbs in each.

A session takes images channels-first and gives its outputs channels-first by name, whatever the
layout in the file; it knows nothing of the other engines nor of what its outputs are compared with.

``open_session(path, mode) -> Session``   a context manager; the mode is one of the engine's. Of Core ML also
                                          ``(path, mode, function)``, a package's function by its name
``why_not() -> str``                      why this host cannot run the engine; empty where it can
``trace(path, image, mode) -> Trace``     every operation and what it computes; not of Core ML, which does not tell
``read_delegation(path) -> Delegation``   what its delegate takes; where the table names one

Modes say how numbers are computed. ``fp16``: every value in the type that the file gives it; ``fp32``:
every float in float32, on the weights that the file holds; ``ane``: see :mod:`runtimes.mil.arithmetic`.
Core ML's are its compute units, which choose for themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.trace import Trace, TracedOperation
from evim_deploy.common.errors import BadInput, NotInstalled, NotRunHere
from runtimes.delegation import Delegation

Array = npt.NDArray[np.float32]


class Session(Protocol):
    """A loaded artifact."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The artifact's own metadata."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]:
        """What the floats of the last run could not hold, counted by kind, by operation; empty if never told."""

    def run(self, image: Array) -> dict[str, Array]:
        """Outputs by name of images (B, 3, H, W); B, H and W must be the artifact's where it fixes them."""


class _Module(Protocol):
    def open_session(self, path: Path, mode: str, *function: str) -> AbstractContextManager[Session]: ...

    def why_not(self) -> str: ...

    def read_operations(self, path: Path, mode: str, *function: str) -> tuple[TracedOperation, ...]: ...

    def trace(self, path: Path, image: Array, mode: str) -> Trace: ...

    def read_delegation(self, path: Path) -> Delegation: ...


@dataclass(frozen=True)
class Engine:
    """One row of the table of engines.

    Attributes:
        name: As reports call it.
        suffix: Of the artifacts it runs.
        extra: The extra that installs it.
        requires: What must be installed, by its names on the package index.
        modes: How it can compute, the usual one first.
        exact: The one of them that rounds nothing but to float32, and to the grids that the file has.
        delegate: What it hands operations to, and tells which; empty where it has none that tells.
    """

    name: str
    suffix: str
    extra: str
    requires: tuple[str, ...]
    modes: tuple[str, ...]
    delegate: str = ""
    exact: str = "fp32"


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("onnxruntime", ".onnx", "onnx", ("onnxruntime",), ("fp16", "fp32")),
        Engine("litert", ".tflite", "tflite", ("ai-edge-litert",), ("fp32", "decoded"), "XNNPACK", "decoded"),
        Engine(
            "coreml",
            ".mlpackage",
            "coreml",
            ("coremltools",),
            ("all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine"),
        ),
        Engine("mil", ".mlpackage", "coreml", ("coremltools", "torch"), ("fp16", "fp32", "ane")),
    )
}


def engines_for(path: Path) -> tuple[Engine, ...]:
    """The engines that run files of an artifact's kind, by its suffix, the one that ships first.

    Raises:
        BadInput: No such file, or no engine runs files of its kind.
    """
    try:
        if not path.exists():
            raise BadInput(f"There is no artifact {path}.", "Check the path.")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    found = engines_of(path.suffix)
    if not found:
        suffixes = ", ".join(dict.fromkeys(engine.suffix for engine in ENGINES.values()))
        raise BadInput(
            f"{path} is no artifact that an engine here runs.", f"Name a file that ends in one of {suffixes}."
        )
    return found


def engines_of(suffix: str) -> tuple[Engine, ...]:
    """The engines that run files with a suffix, the one that ships first."""
    return tuple(engine for engine in ENGINES.values() if engine.suffix == suffix)


def first_here(engines: tuple[Engine, ...]) -> Engine:
    """The first of some engines that exists on this host; the last where none does."""
    return next((engine for engine in engines if not why_not(engine)), engines[-1])


def missing(engine: Engine) -> str | None:
    """The package that an engine needs and that is not installed, by its name on the package index."""
    return next((name for name in engine.requires if importlib.util.find_spec(name.replace("-", "_")) is None), None)


def why_not(engine: Engine) -> str:
    """Why this host cannot run an engine; empty where it can. Imports nothing that is heavy."""
    package = missing(engine)
    if package:
        return f"{package} is not installed"
    return _load(engine).why_not()


def require(engine: Engine, artifact: str) -> None:
    """Check, without importing it, that this host can run an engine; the messages name the artifact.

    Raises:
        NotInstalled: Its package is missing.
        NotRunHere: It does not exist on this host.
    """
    package = missing(engine)
    if package:
        raise NotInstalled(
            f"Running {artifact} needs {package}, which is not installed.",
            f'pip install "evim-deploy[{engine.extra}]"',
        )
    reason = _load(engine).why_not()
    if reason:
        raise NotRunHere(f"{artifact} cannot be run here: {reason}.", "Run it on a Mac, or export to ONNX or TFLite.")


def open_artifact(
    path: Path, engine: Engine | None = None, mode: str | None = None, function: str | None = None
) -> AbstractContextManager[Session]:
    """A session of an artifact, in the engine that suits this host and that engine's usual mode, unless given.

    Of a package with several functions it runs the default one, unless given.

    Raises:
        BadInput: The file is damaged, is of no kind that an engine runs, or has no such function.
        NotInstalled: The engine's package is missing.
        NotRunHere: The engine does not exist on this host.
    """
    engine = engine or first_here(engines_for(path))
    require(engine, path.name)
    return _load(engine).open_session(path, mode or engine.modes[0], *_named(function))


def trace(path: Path, image: Array, engine: Engine | None = None, mode: str | None = None) -> Trace:
    """The operations of an artifact, and what they compute on images (B, 3, H, W).

    In the last engine that runs files of its kind, which of a package is the one that evaluates its program,
    and in that engine's usual mode, unless given.

    Raises:
        BadInput: The file is damaged, or is of no kind that an engine runs, or its values take too much memory.
        NotInstalled: The engine's package is missing.
        NotRunHere: The engine does not exist on this host, or does not tell what it computes on the way.
    """
    engine = engine or engines_for(path)[-1]
    require(engine, path.name)
    module = _load(engine)
    if not hasattr(module, "trace"):
        raise NotRunHere(
            f"{engine.name} does not tell what is computed inside {path.name}.", "Trace it in another engine."
        )
    return module.trace(path, image, mode or engine.modes[0])


def read_operations(path: Path, function: str | None = None) -> tuple[TracedOperation, ...]:
    """The operations of an artifact with the weights that its file stores; nothing is computed.

    Of a package with several functions those of the default one, unless given.

    Raises:
        BadInput: The file is damaged, is of no kind that an engine runs, or has no such function.
        NotInstalled: What reads it is missing.
    """
    engine = engines_for(path)[-1]
    require(engine, path.name)
    return _load(engine).read_operations(path, engine.modes[0], *_named(function))


def _named(function: str | None) -> tuple[str, ...]:
    """Most engines know no functions, and take none."""
    return (function,) if function else ()


def read_delegation(path: Path) -> Delegation | None:
    """What its engine's delegate takes of a file, whoever made it; None where no engine of its kind has one.

    Raises:
        BadInput: The file cannot be read.
        NotInstalled: The engine's package is missing.
        NotRunHere: The engine does not load the file.
    """
    engine = next((engine for engine in engines_of(path.suffix) if engine.delegate), None)
    if engine is None:
        return None
    require(engine, path.name)
    return _load(engine).read_delegation(path)


def _load(engine: Engine) -> _Module:
    return cast("_Module", importlib.import_module(f"runtimes.{engine.name}"))
