"""The requested artifact, the source of its weights, and the name of its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import Activation, ArtifactFormat, Output, Precision, Task

if TYPE_CHECKING:
    from evim_deploy.artifact.quantisation import Quantisation

_UNTRAINED = "UNTRAINED"
"""Marks the name of a file with untrained weights."""

UNTRAINED_NOTICE = "UNTRAINED weights: good for latency and parity, its predictions mean nothing"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The requested artifact.

    Attributes:
        format: A row of :data:`exporters.FORMATS`.
        precision: Precision of weights and computation; the format supports it.
        height: Image height in pixels, None for dynamic.
        width: Image width in pixels, None for dynamic.
        batch: Images in one prediction, None for dynamic.
        task: Classes or dense features.
        output: An output that belongs to the task.
        preprocess: Whether the input is RGB pixels 0-255 rather than a normalised tensor.
        labels: A name for each class; empty for features.
        activation: Function from a classifier's logits to probabilities.
        opset: ONNX's operator set; None for the format's usual one, and in other formats.
        half_io: Whether an fp16 ONNX file has float16 inputs and outputs, instead of float32.
        deployment_target: The oldest system that a Core ML package runs on, ``iOS16`` to ``iOS18``; None for the
            format's usual one, and in other formats.
        functions: Height and width of each function of an artifact that has several, the default one, which is the
            target's own, first; empty where it has one function.
        quantisation: How it is quantised; None where it is not, or nobody has looked yet.
    """

    format: ArtifactFormat
    precision: Precision
    height: int | None
    width: int | None
    batch: int | None
    task: Task
    output: Output
    preprocess: bool
    labels: tuple[str, ...]
    activation: Activation = Activation.SOFTMAX
    opset: int | None = None
    half_io: bool = False
    deployment_target: str | None = None
    functions: tuple[tuple[int, int], ...] = ()
    quantisation: Quantisation | None = None

    def __str__(self) -> str:
        size = "dynamic" if self.height is None else f"{self.height}x{self.width}"
        size = ", ".join(f"{height}x{width}" for height, width in self.functions) or size
        return f"{self.format} {self.precision} {size}"

    def of_functions(self) -> dict[str, Target]:
        """The target of each function of an artifact, by its name in the file; the default one first."""
        return {
            f"size_{height}x{width}": replace(self, height=height, width=width, functions=())
            for height, width in self.functions
        }

    def pixels(self, native: int) -> int:
        """Pixels of all images in a batch; ``native`` is the side, in pixels, where the size is dynamic."""
        return (self.batch or 1) * (self.height or native) * (self.width or native)

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Smallest and largest input value; None for a normalised input."""
        return (0.0, 255.0) if self.preprocess else None

    @property
    def output_range(self) -> tuple[float, float] | None:
        """Smallest and largest output value; None where the output is not bounded."""
        return (0.0, 1.0) if self.output == Output.PROBABILITIES else None

    @property
    def resolution(self) -> list[int] | str:
        """[H, W], or ``"dynamic"``."""
        return "dynamic" if self.height is None or self.width is None else [self.height, self.width]


@dataclass(frozen=True)
class Weights:
    """Source of an artifact's weights.

    Attributes:
        source: A file's name without its folder, ``hf:REPO/FILE``, ``timm:NAME``, ``package:digits`` or
            ``random:SEED``.
        trained: False for seeded weights, whose predictions mean nothing.
        sha256: Hash of the file, or for seeded weights of the values (hex).
        note: Reason for these weights, for people; may be empty.
    """

    source: str
    trained: bool
    sha256: str
    note: str = ""


def file_stem(model: Model, target: Target, weights: Weights, usual_output: str) -> str:
    """Name of an artifact without its suffix: model, size, precision, and every option that is not the usual one."""
    batch = "dynamic" if target.batch is None else target.batch
    sizes = target.functions or [(target.height, target.width)]
    parts = [
        model.stem,
        *([] if weights.trained or _UNTRAINED in model.stem else [_UNTRAINED, weights.source.replace(":", "")]),
        "dynamic" if target.height is None else "_".join(f"{h}x{w}" for h, w in sizes),
        target.precision,
        *([] if batch == 1 else [f"batch-{batch}"]),
        *([] if target.output == usual_output else [target.output]),
        *([] if target.preprocess else ["normalised-input"]),
        *([] if target.opset is None else [f"opset-{target.opset}"]),
        *(["half-io"] if target.half_io else []),
        *([] if target.deployment_target is None else [target.deployment_target]),
    ]
    return "_".join(parts)
