"""What a user asks for, and the artifacts that it comes to; decided before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy.artifact import Target
from evim_deploy.errors import BadInput
from evim_deploy.variants import MAX_BATCH, MAX_RESOLUTION, MIN_CLASSES, MIN_RESOLUTION, ModelName
from exporters import FORMATS

Size = tuple[int, int] | None
"""Height and width in pixels, or None for dynamic."""


@dataclass(frozen=True)
class Request:
    """What a user asks for; None is left to the defaults of the model or the format.

    Attributes:
        model: Which model.
        formats: Names of rows in :data:`exporters.FORMATS`.
        precisions: ``fp32``, ``fp16``; empty for each format's default.
        sizes: (height, width) each, None for dynamic; empty for the model's native one.
        batch: Images in one prediction, None for dynamic.
        weights: As ``--weights`` takes it.
        num_classes: Of the heads.
        labels: File with the names of the classes.
        task: ``classify`` or ``features``.
        output: ``logits`` or ``probabilities``.
        preprocess: Whether the artifact takes RGB pixels 0-255.
        output_dir: Where the artifacts go.
        overwrite: Whether files that stand there may be replaced.
        golden: Whether to write inputs and the model's answers beside each artifact.
        verify: True to insist on a parity check, False to leave it out, None to check where this host can.
    """

    model: ModelName
    formats: tuple[str, ...]
    precisions: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    batch: int | None = 1
    weights: str | None = None
    num_classes: int | None = None
    labels: Path | None = None
    task: str = "classify"
    output: str | None = None
    preprocess: bool = True
    output_dir: Path = Path()
    overwrite: bool = False
    golden: bool = False
    verify: bool | None = None


def plan(request: Request) -> list[Target]:
    """The artifacts that a request asks for, without their labels.

    Raises:
        BadInput: An option cannot be met.
    """
    if request.task == "features" and (request.output or request.labels or request.num_classes is not None):
        raise BadInput(
            "Dense features have no classes.",
            "Leave out --output, --labels and --num-classes, or use --task classify.",
        )
    if request.num_classes is not None and request.num_classes < MIN_CLASSES:
        raise BadInput(
            f"{request.num_classes} classes are no classification.", f"Give --num-classes {MIN_CLASSES} or more."
        )
    if request.batch is not None and not 1 <= request.batch <= MAX_BATCH:
        raise BadInput(f"A batch of {request.batch} is impossible.", f"Give --batch 1 to {MAX_BATCH}.")
    native = request.model.variant.resolution
    targets = []
    for name in dict.fromkeys(request.formats):
        format_ = FORMATS[name]
        for size in dict.fromkeys(request.sizes or ((native, native),)):
            _check_size(size)
            if not format_.dynamic and (size is None or request.batch is None):
                raise BadInput(
                    f"{format_.name} has no dynamic batch or resolution here.",
                    "Export one artifact for each size (-r 224 -r 384, -b 4), or use --format onnx.",
                )
            height, width = size or (None, None)
            if request.golden and size is None:
                raise BadInput("Golden inputs have a fixed size.", "Give one with --resolution, or leave out --golden.")
            for precision in dict.fromkeys(request.precisions or (format_.default_precision,)):
                output = "features" if request.task == "features" else request.output or format_.default_output
                targets.append(
                    Target(
                        name,
                        precision,
                        height,
                        width,
                        request.batch,
                        request.task,
                        output,
                        request.preprocess,
                        labels=(),
                    )
                )
    return targets


def _check_size(size: Size) -> None:
    if size is not None and not all(MIN_RESOLUTION <= side <= MAX_RESOLUTION for side in size):
        raise BadInput(
            f"A resolution of {size[0]}x{size[1]} is impossible.",
            f"Give sides of {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels.",
        )
