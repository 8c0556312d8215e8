"""The engines that are timed: one module an engine, the same verbs in each.

``open_runner(job) -> Runner``   load what a job names, in a process that does nothing else
``version() -> str``             of the engine, without loading a model

An engine is a row of a table. The file that it takes is made beforehand, in a process of its own, by
:mod:`latency.preparation`, so that neither the time nor the memory of a conversion is counted.
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

Array = npt.NDArray[np.float32]

CHANNELS_FIRST = "channels-first"
CHANNELS_LAST = "channels-last"

DISTINCT_IMAGES = 8
"""A larger batch repeats them: 256 images of 4096x4096 would take minutes to draw, and 48 GiB of the host's memory."""

_GREY, _CONTRAST = np.float32(127.5), np.float32(51.0)
"""Mean and standard deviation of noise in pixels: black and white are 2.5 deviations away."""


@dataclass(frozen=True)
class Job:
    """What a worker times.

    Attributes:
        source: The file that the engine loads.
        precision: That it is timed in, one of its row's.
        batch: Images in one prediction.
        shape: Of one image (C, H, W).
        threads: That the engine may use; None leaves it to the engine.
        device: ``cpu``, ``cuda``, or ``coreml`` where Core ML picks the units itself.
        layout: Of images and weights in memory, ``channels-first`` or ``channels-last``, for the engines that
            can choose.
        pixels: Whether the file takes pixels 0-255 rather than normalised values.
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
        """Seeded normal noise (min(B, 8), C, H, W), float32, like normalised photographs; whole numbers for pixels.

        One draw an image, so that the first image is the same in every batch.
        """
        images = np.empty((min(self.batch, DISTINCT_IMAGES), *self.shape), np.float32)
        for index, image in enumerate(images):
            np.random.default_rng(index).standard_normal(dtype=np.float32, out=image)
        return (_GREY + _CONTRAST * images).round().clip(0, 255) if self.pixels else images

    def images(self) -> Array:
        """The distinct images, repeated to a batch (B, C, H, W), float32."""
        return np.resize(self.distinct_images(), (self.batch, *self.shape))


def first_image(shape: tuple[int, int, int], pixels: bool = False) -> Array:
    """The first image of every job with images of this shape, (1, C, H, W)."""
    return Job("", "fp32", 1, shape, None, "cpu", CHANNELS_FIRST, pixels).images()


@dataclass(frozen=True)
class ProfiledOperation:
    """An operation in an engine's own profile.

    Attributes:
        name: As the engine calls it.
        operation_class: One of :data:`latency.breakdown.CLASSES`.
        seconds: In one prediction.
        calls: In one prediction.
    """

    name: str
    operation_class: str
    seconds: float
    calls: int


class Runner(Protocol):
    """A loaded model with its images in place.

    Attributes:
        mode: What it chose itself of how it computes; empty where it had no choice.
    """

    mode: str

    def predict(self) -> None:
        """One prediction, which has come to its end on return."""

    def outputs(self) -> Array:
        """The first output of the last prediction, channels-first as the model's (B, ...), in float32."""

    def profile(self, count: int) -> list[ProfiledOperation]:
        """The engine's own profile of so many predictions, a mean over them; empty where it has none."""


class EngineModule(Protocol):
    """What every module of an engine offers."""

    def open_runner(self, job: Job) -> Runner: ...

    def version(self) -> str: ...


@dataclass(frozen=True)
class Engine:
    """One row of the table of engines.

    Attributes:
        name: As ``--engine`` takes it.
        module: Where its verbs are.
        takes: The suffix of the file that it loads.
        requires: What must be installed, by its names on the package index.
        extra: The extra that installs it.
        precisions: What it is timed in, by device, the usual one first: those that its files are made in, and
            those that it computes in itself, from files of fp32.
        layouts: That it can choose from; empty where it chooses for itself.
        system: The operating system that it exists on; empty for any.
        takes_images: Whether its files take images alone, so that a mixer has none.
    """

    name: str
    module: str
    takes: str
    requires: tuple[str, ...]
    extra: str
    precisions: Mapping[str, tuple[str, ...]]
    layouts: tuple[str, ...] = ()
    system: str = ""
    takes_images: bool = False

    def stored(self, precision: str) -> str:
        """The precision of the file that it is timed from."""
        return precision if precision in _FILES.get(self.takes, ()) else "fp32"


_FILES = {row.suffix: row.precisions for row in FORMATS.values()}
"""Precisions of files by their suffix."""

_TORCH = {"cpu": ("fp32", "bf16"), "cuda": ("fp16", "bf16", "fp32")}
LAYOUTS = (CHANNELS_FIRST, CHANNELS_LAST)

ENGINES = {
    engine.name: engine
    for engine in (
        Engine("torch", "latency.engines.torch", ".pt", ("torch",), "bench", _TORCH, LAYOUTS),
        Engine("torch-compile", "latency.engines.torch_compile", ".pt", ("torch",), "bench", _TORCH, LAYOUTS),
        Engine("torchscript", "latency.engines.torchscript", ".pt", ("torch",), "bench", _TORCH, LAYOUTS),
        Engine(
            "onnxruntime", "latency.engines.onnxruntime", ".onnx", ("onnxruntime",), "bench", {"cpu": _FILES[".onnx"]}
        ),
        Engine(
            "openvino",
            "latency.engines.openvino",
            ".onnx",
            ("openvino",),
            "bench",
            {"cpu": (*_FILES[".onnx"], "bf16")},
        ),
        Engine(
            "litert",
            "latency.engines.litert",
            ".tflite",
            ("ai-edge-litert",),
            "tflite",
            {"cpu": _FILES[".tflite"]},
            takes_images=True,
        ),
        Engine(
            "coreml",
            "latency.engines.coreml",
            ".mlpackage",
            ("coremltools",),
            "coreml",
            {"coreml": _FILES[".mlpackage"]},
            system="Darwin",
            takes_images=True,
        ),
    )
}


def find_engine(name: str) -> Engine:
    """The engine of a name.

    Raises:
        UsageProblem: There is none.
    """
    if name not in ENGINES:
        raise UsageProblem(f"There is no engine {name!r}.", f"Engines are {', '.join(ENGINES)}.")
    return ENGINES[name]


def require(engine: Engine) -> None:
    """Check, without importing it, that an engine is installed.

    Raises:
        NotInstalled: It is not.
    """
    for package in engine.requires:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise NotInstalled(
                f"The engine {engine.name} needs {package}, which is not installed.",
                f'pip install "evim-deploy[{engine.extra}]"',
            )


def why_not(engine: Engine) -> str:
    """Why an engine that is installed cannot predict on this host; empty where it can."""
    if engine.system and platform.system() != engine.system:
        return f"{engine.name} predicts on macOS only"
    return ""


def load(module: str) -> EngineModule:
    """The verbs of an engine."""
    return cast("EngineModule", importlib.import_module(module))
