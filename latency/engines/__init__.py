"""The engines that can be timed: one module an engine, the same functions in each.

``open_runner(job) -> Runner``   load a job's file, in a process that does nothing else
``version() -> str``             version of the engine, without loading a model

An engine is a row of a table. :mod:`latency.preparation` makes its file beforehand, in a process of its own, so that
neither the time nor the memory of a conversion is counted. An engine may import common and runtimes, and no other
engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import NotInstalled, UsageProblem
from exporters import FORMATS
from latency.enums import MemoryLayout

Array = npt.NDArray[np.float32]

DISTINCT_IMAGES = 8
"""A larger batch repeats these images: to draw 256 images of 4096x4096 takes minutes and 48 GiB of host memory."""

_GREY, _CONTRAST = np.float32(127.5), np.float32(51.0)
"""Mean and standard deviation of noise in pixels: black and white are 2.5 deviations away."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work of one worker.

    Attributes:
        source: Path of the file that the engine loads.
        precision: Precision to time, one of the engine's row.
        batch: Images in one prediction.
        shape: Shape of one image (C, H, W).
        threads: Threads that the engine may use; None for the engine's default.
        device: ``cpu``, ``cuda``, or ``coreml`` where Core ML chooses the compute units itself.
        layout: Memory layout of images and weights, for the engines that support several; otherwise empty.
        pixels: Whether the file has pixels 0-255 as its input instead of normalised values.
    """

    source: str
    precision: str
    batch: int
    shape: tuple[int, int, int]
    threads: int | None
    device: str
    layout: str
    pixels: bool = False

    def distinct_images(self) -> Array:
        """Seeded normal noise (min(B, 8), C, H, W), float32, like normalised photographs; integers for pixels.

        Each image has a seed of its own, so that the first image is the same in every batch.
        """
        images = np.empty((min(self.batch, DISTINCT_IMAGES), *self.shape), np.float32)
        for index, image in enumerate(images):
            np.random.default_rng(index).standard_normal(dtype=np.float32, out=image)
        return (_GREY + _CONTRAST * images).round().clip(0, 255) if self.pixels else images

    def images(self) -> Array:
        """The distinct images, repeated to a batch (B, C, H, W), float32."""
        return np.resize(self.distinct_images(), (self.batch, *self.shape))


def first_image(shape: tuple[int, int, int], pixels: bool = False) -> Array:
    """The first image (1, C, H, W) of every job with images of this shape."""
    job = Job(source="", precision="fp32", batch=1, shape=shape, threads=None, device="cpu", layout="", pixels=pixels)
    return job.images()


@dataclass(frozen=True)
class ProfiledOperation:
    """An operation in an engine's own profile.

    Attributes:
        name: Name that the engine reports.
        operation_class: A value of :class:`latency.breakdown.OperationClass`.
        seconds: Time in one prediction.
        calls: Number of calls in one prediction.
    """

    name: str
    operation_class: str
    seconds: float
    calls: int


class Runner(Protocol):
    """A loaded model with its images in place.

    Attributes:
        mode: The way of computing that the engine chose itself; empty if it had no choice.
    """

    mode: str

    def predict(self) -> None:
        """Run one prediction and wait for its end."""

    def outputs(self) -> Array:
        """The first output of the last prediction (B, ...), channels-first as in the model, float32."""

    def profile(self, count: int) -> list[ProfiledOperation]:
        """The engine's own profile, averaged over ``count`` predictions; empty if the engine has no profiler."""


class EngineModule(Protocol):
    """The functions that every engine's module has."""

    def open_runner(self, job: Job) -> Runner: ...

    def version(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A row of the table of engines.

    Attributes:
        name: Value of ``--engine``.
        module: Module with its functions.
        file_suffix: Suffix of the files that it loads; empty if it loads none.
        requires: Packages that must be installed, by their names on the package index.
        extra: The extra that installs them.
        precisions: Precisions that can be timed, by device, the default first: those of the engine's files, and those
            that the engine computes in from fp32 files.
        layouts: Supported memory layouts; empty if the engine chooses one.
        system: Operating system that it requires; empty for any.
        image_input_only: Whether its files have images as their only possible input, so that no mixer can be timed.
    """

    name: str
    module: str
    file_suffix: str
    requires: tuple[str, ...]
    extra: str
    precisions: Mapping[str, tuple[str, ...]]
    layouts: tuple[MemoryLayout, ...] = ()
    system: str = ""
    image_input_only: bool = False

    def file_precision(self, precision: str) -> str:
        """The precision of the file that a precision is timed with."""
        return precision if precision in _FILE_PRECISIONS.get(self.file_suffix, ()) else "fp32"

    @property
    def unavailable_reason(self) -> str:
        """The reason why the installed engine cannot predict on this host; empty if it can."""
        if self.system and platform.system() != self.system:
            return f"{self.name} predicts on macOS only"
        return ""


_FILE_PRECISIONS = {row.suffix: row.precisions for row in FORMATS.values()}
"""Precisions of files by their suffix."""


def _torch_engine(name: str, module: str) -> Engine:
    return Engine(
        name=name,
        module=module,
        file_suffix=".pt",
        requires=("torch",),
        extra="bench",
        precisions={"cpu": ("fp32", "bf16"), "cuda": ("fp16", "bf16", "fp32")},
        layouts=tuple(MemoryLayout),
    )


ENGINES = {
    engine.name: engine
    for engine in (
        _torch_engine("torch", "latency.engines.torch"),
        _torch_engine("torch-compile", "latency.engines.torch_compile"),
        _torch_engine("torchscript", "latency.engines.torchscript"),
        Engine(
            name="onnxruntime",
            module="latency.engines.onnxruntime",
            file_suffix=".onnx",
            requires=("onnxruntime",),
            extra="bench",
            precisions={"cpu": _FILE_PRECISIONS[".onnx"]},
        ),
        Engine(
            name="openvino",
            module="latency.engines.openvino",
            file_suffix=".onnx",
            requires=("openvino",),
            extra="bench",
            precisions={"cpu": (*_FILE_PRECISIONS[".onnx"], "bf16")},
        ),
        Engine(
            name="litert",
            module="latency.engines.litert",
            file_suffix=".tflite",
            requires=("ai-edge-litert",),
            extra="tflite",
            precisions={"cpu": _FILE_PRECISIONS[".tflite"]},
            image_input_only=True,
        ),
        Engine(
            name="coreml",
            module="latency.engines.coreml",
            file_suffix=".mlpackage",
            requires=("coremltools",),
            extra="coreml",
            precisions={"coreml": _FILE_PRECISIONS[".mlpackage"]},
            system="Darwin",
            image_input_only=True,
        ),
    )
}


def find_engine(name: str) -> Engine:
    """Find an engine by name.

    Raises:
        UsageProblem: The engine is unknown.
    """
    if name not in ENGINES:
        raise UsageProblem(f"Unknown engine {name!r}.", f"Engines are {', '.join(ENGINES)}.")
    return ENGINES[name]


def require(engine: Engine) -> None:
    """Check, without importing them, that the packages of an engine are installed.

    Raises:
        NotInstalled: A package is missing.
    """
    for package in engine.requires:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise NotInstalled(
                f"The engine {engine.name} needs {package}, which is not installed.",
                f'pip install "evim-deploy[{engine.extra}]"',
            )


def load(module: str) -> EngineModule:
    """Import the module of an engine."""
    return cast("EngineModule", importlib.import_module(module))
