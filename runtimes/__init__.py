"""The engines that run an artifact: one table, one module or package for each engine.

A session accepts images channels-first and returns its outputs by name, channels-first, whatever the layout in the
file. An engine knows neither the other engines nor the reference that its outputs are compared with.

The functions of an engine's module:

``open_session(path, mode) -> Session``   a context manager; Core ML's engines also accept the name of a function of
                                          the package: ``(path, mode, function)``
``read_operations(path, mode)``           every operation and its stored weights
``trace(path, image, mode) -> Trace``     every operation and its values
``read_delegation(path) -> Delegation``   the operations that the delegate runs, if the table names a delegate

An engine that does not report its operations has ``open_session`` alone. The package may import common, formats,
artifact and inspection.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.trace import Trace, TracedOperation
from evim_deploy.common.errors import BadInput, NotInstalled, NotRunHere
from runtimes.delegation import Delegation
from runtimes.modes import Mode

Array = npt.NDArray[np.float32]


class Session(Protocol):
    """A loaded artifact."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The artifact's own metadata."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]:
        """Counts by kind, by operation, of the values that floats could not represent in the last run.

        Empty for an engine that does not report them.
        """

    def run(self, image: Array) -> dict[str, Array]:
        """Return the outputs by name for images (B, 3, H, W); B, H and W must match those that the artifact fixes."""


class _EngineModule(Protocol):
    def open_session(self, path: Path, mode: Mode, *function: str) -> AbstractContextManager[Session]: ...

    def read_operations(self, path: Path, mode: Mode, *function: str) -> tuple[TracedOperation, ...]: ...

    def trace(self, path: Path, image: Array, mode: Mode) -> Trace: ...

    def read_delegation(self, path: Path) -> Delegation: ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One row of the table of engines.

    Attributes:
        name: Name in reports, and of the module.
        suffix: File suffix of the artifacts that it runs.
        extra: The extra of this package that installs it.
        requires: Names on the package index of the packages that it needs.
        modes: Supported modes.
        default_mode: The mode used unless another one is asked for.
        exact_mode: The mode that rounds only to float32 and to the quantisation parameters in the file; None if the
            engine has no such mode.
        traces_operations: Whether the engine reports its operations and their values.
        delegate: Name of the delegate whose operations it reports; empty if there is none.
        requires_macos: Whether it runs on macOS only.
    """

    name: str
    suffix: str
    extra: str
    requires: tuple[str, ...]
    modes: tuple[Mode, ...]
    default_mode: Mode
    exact_mode: Mode | None
    traces_operations: bool = True
    delegate: str = ""
    requires_macos: bool = False


_ROWS = (
    Engine(
        name="onnxruntime",
        suffix=".onnx",
        extra="onnx",
        requires=("onnxruntime",),
        modes=(Mode.FP16, Mode.FP32),
        default_mode=Mode.FP16,
        exact_mode=Mode.FP32,
    ),
    Engine(
        name="litert",
        suffix=".tflite",
        extra="tflite",
        requires=("ai-edge-litert",),
        modes=(Mode.FP32, Mode.DECODED),
        default_mode=Mode.FP32,
        exact_mode=Mode.DECODED,
        delegate="XNNPACK",
    ),
    Engine(
        name="coreml",
        suffix=".mlpackage",
        extra="coreml",
        requires=("coremltools",),
        modes=(Mode.ALL, Mode.CPU_ONLY, Mode.CPU_AND_GPU, Mode.CPU_AND_NEURAL_ENGINE),
        default_mode=Mode.ALL,
        exact_mode=None,
        traces_operations=False,
        requires_macos=True,
    ),
    Engine(
        name="mil",
        suffix=".mlpackage",
        extra="coreml",
        requires=("coremltools", "torch"),
        modes=(Mode.FP16, Mode.FP32, Mode.ANE),
        default_mode=Mode.FP16,
        exact_mode=Mode.FP32,
    ),
)

ENGINES = {engine.name: engine for engine in _ROWS}
"""The engines by name; of those that run the same suffix, the first available one is preferred."""


def engines_for(path: Path) -> tuple[Engine, ...]:
    """Return the engines that run an artifact, by its suffix, in order of preference.

    Raises:
        BadInput: The file does not exist, or no engine runs files with its suffix.
    """
    try:
        if not path.exists():
            raise BadInput(f"Artifact not found: {path}.", "Check the path.")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    engines = engines_of(path.suffix)
    if not engines:
        suffixes = ", ".join(dict.fromkeys(engine.suffix for engine in ENGINES.values()))
        raise BadInput(f"No engine runs {path}.", f"Name a file that ends in one of {suffixes}.")
    return engines


def engines_of(suffix: str) -> tuple[Engine, ...]:
    """Return the engines that run files with a suffix, in order of preference."""
    return tuple(engine for engine in ENGINES.values() if engine.suffix == suffix)


def first_available(engines: tuple[Engine, ...]) -> Engine:
    """Return the first engine that this host can run, or the last one if it can run none."""
    return next((engine for engine in engines if not unavailable_reason(engine)), engines[-1])


def engine_with_mode(engines: Iterable[Engine], mode: Mode) -> Engine | None:
    """Return the first engine that supports a mode, or None."""
    return next((engine for engine in engines if mode in engine.modes), None)


def exact_engine(path: Path) -> Engine:
    """Return the engine with an exact mode that runs an artifact.

    Raises:
        BadInput: The file does not exist, or no engine runs files with its suffix.
    """
    return next(engine for engine in engines_for(path) if engine.exact_mode is not None)


def tracing_engine(path: Path) -> Engine:
    """Return the engine that reports the operations of an artifact.

    Raises:
        BadInput: The file does not exist, or no engine runs files with its suffix.
    """
    return next(engine for engine in engines_for(path) if engine.traces_operations)


def missing_package(engine: Engine) -> str | None:
    """Return the name on the package index of a package that an engine needs and that is not installed, or None."""
    return next((name for name in engine.requires if importlib.util.find_spec(name.replace("-", "_")) is None), None)


def unavailable_reason(engine: Engine) -> str:
    """Return the reason why this host cannot run an engine, or an empty string. Imports no heavy package."""
    package = missing_package(engine)
    if package:
        return f"{package} is not installed"
    if engine.requires_macos and platform.system() != "Darwin":
        return f"{engine.name} runs on macOS only"
    return ""


def require(engine: Engine, artifact: str) -> None:
    """Check that this host can run an engine, without importing it.

    Args:
        engine: The engine.
        artifact: Name of the artifact, for the messages.

    Raises:
        NotInstalled: A package of the engine is missing.
        NotRunHere: This host cannot run the engine.
    """
    package = missing_package(engine)
    if package:
        raise NotInstalled(
            f"Running {artifact} needs {package}, which is not installed.",
            f'pip install "evim-deploy[{engine.extra}]"',
        )
    if reason := unavailable_reason(engine):
        raise NotRunHere(f"{artifact} cannot be run here: {reason}.", "Run it on a Mac, or export to ONNX or TFLite.")


def open_artifact(
    path: Path, engine: Engine | None = None, mode: Mode | None = None, function: str | None = None
) -> AbstractContextManager[Session]:
    """Open a session of an artifact.

    Args:
        path: The artifact.
        engine: By default the first engine that is available on this host.
        mode: By default the engine's default mode.
        function: Name of a function of a package; by default the package's default function.

    Raises:
        BadInput: The file is damaged, no engine runs files with its suffix, or it has no such function.
        NotInstalled: A package of the engine is missing.
        NotRunHere: This host cannot run the engine.
    """
    engine = engine or first_available(engines_for(path))
    require(engine, path.name)
    return _load(engine).open_session(path, mode or engine.default_mode, *_optional(function))


def trace(path: Path, image: Array, engine: Engine | None = None, mode: Mode | None = None) -> Trace:
    """Return the operations of an artifact and their values on images (B, 3, H, W).

    Args:
        path: The artifact.
        image: Images (B, 3, H, W).
        engine: By default the tracing engine of the artifact's format.
        mode: By default the engine's default mode.

    Raises:
        BadInput: The file is damaged, no engine runs files with its suffix, or its values need too much memory.
        NotInstalled: A package of the engine is missing.
        NotRunHere: This host cannot run the engine, or the engine does not report its operations.
    """
    engine = engine or tracing_engine(path)
    require(engine, path.name)
    if not engine.traces_operations:
        raise NotRunHere(f"{engine.name} does not report the operations of {path.name}.", "Trace it in another engine.")
    return _load(engine).trace(path, image, mode or engine.default_mode)


def read_operations(path: Path, function: str | None = None) -> tuple[TracedOperation, ...]:
    """Return the operations of an artifact with the weights stored in its file, without running it.

    Args:
        path: The artifact.
        function: Name of a function of a package; by default the package's default function.

    Raises:
        BadInput: The file is damaged, no engine runs files with its suffix, or it has no such function.
        NotInstalled: A package of the engine is missing.
    """
    engine = tracing_engine(path)
    require(engine, path.name)
    return _load(engine).read_operations(path, engine.default_mode, *_optional(function))


def _optional(function: str | None) -> tuple[str, ...]:
    """Most engines have no functions and accept no such argument."""
    return (function,) if function else ()


def read_delegation(path: Path) -> Delegation | None:
    """Return the operations of a file that its engine's delegate runs, or None if there is no such engine.

    Raises:
        BadInput: The file cannot be read.
        NotInstalled: A package of the engine is missing.
        NotRunHere: The engine does not load the file.
    """
    engine = next((engine for engine in engines_of(path.suffix) if engine.delegate), None)
    if engine is None:
        return None
    require(engine, path.name)
    return _load(engine).read_delegation(path)


def _load(engine: Engine) -> _EngineModule:
    return cast("_EngineModule", importlib.import_module(f"runtimes.{engine.name}"))
