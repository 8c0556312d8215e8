"""What a user asks for, and the artifacts that it comes to; decided before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import UNQUANTISED, ModelFamily, ModelKind, Output, Precision, Task
from evim_deploy.catalog.variants import MAX_BATCH, MAX_RESOLUTION, MIN_CLASSES, MIN_RESOLUTION
from evim_deploy.common.errors import BadInput
from evim_deploy.quantise.schemes import find_scheme
from exporters import FORMATS, Format

Size = tuple[int, int] | None
"""Height and width in pixels, or None for dynamic."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; None is left to the defaults of the model or the format.

    Attributes:
        model: Which model.
        formats: Names of rows in :data:`exporters.FORMATS`.
        precisions: Of the formats' own; empty for each format's default.
        sizes: (height, width) each, None for dynamic; empty for the model's native one.
        batch: Images in one prediction, None for dynamic.
        weights: As ``--weights`` takes it.
        num_classes: Of the heads.
        labels: File with the names of the classes.
        task: ``classify`` or ``features``.
        output: ``logits`` or ``probabilities``.
        preprocess: Whether the artifact takes RGB pixels 0-255.
        opset: ONNX's operator set.
        half_io: Whether fp16 ONNX files take and give float16, too.
        deployment_target: The oldest system that Core ML packages are for.
        multifunction: Whether all sizes go into one artifact, a function each.
        calibration: Images that quantised values are given their ranges on; None for those that ship.
        allowed_loss: Percent of these images that a quantised artifact may answer otherwise: what costs most is kept in
            floating point until that holds. None where nothing is kept.
        output_dir: Where the artifacts go.
        overwrite: Whether files that stand there may be replaced.
        golden: Whether to write inputs and the model's answers beside each artifact.
        verify: True to insist on a parity check, False to leave it out, None to check where this host can.
    """

    model: Model
    formats: tuple[str, ...]
    precisions: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    batch: int | None = 1
    weights: str | None = None
    num_classes: int | None = None
    labels: Path | None = None
    task: str = Task.CLASSIFY
    output: str | None = None
    preprocess: bool = True
    opset: int | None = None
    half_io: bool = False
    deployment_target: str | None = None
    multifunction: bool = False
    calibration: Path | None = None
    allowed_loss: float | None = None
    output_dir: Path = Path()
    overwrite: bool = False
    golden: bool = False
    verify: bool | None = None


def plan(request: Request) -> list[Target]:
    """The artifacts that a request asks for, without their labels.

    Raises:
        BadInput: An option cannot be met.
    """
    if request.task == Task.FEATURES and (request.output or request.labels or request.num_classes is not None):
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
    native = request.model.resolution
    sizes = tuple(dict.fromkeys(request.sizes or (request.model.fixed_size or (native, native),)))
    if request.model.kind != ModelKind.GRAPH:
        _check_network(request, sizes)
    for size in sizes:
        _check_size(size)
        if request.golden and size is None:
            raise BadInput("Golden inputs have a fixed size.", "Give one with --resolution, or leave out --golden.")
    _check_quantisation(request)
    targets = []
    for name in dict.fromkeys(request.formats):
        format_ = FORMATS[name]
        _check_format(request, format_, sizes)
        precisions = tuple(dict.fromkeys(request.precisions or format_.precisions[:1]))
        if request.half_io and precisions != (Precision.FP16,):
            raise BadInput("--half-io makes fp16 files take and give float16.", "Add --precision fp16, and that alone.")
        for size in sizes[:1] if request.multifunction else sizes:
            height, width = size or (None, None)
            for precision in precisions:
                deployment_target = _deployment_target(request, format_, precision)
                targets.append(
                    Target(
                        format=format_.name,
                        precision=Precision(precision),
                        height=height,
                        width=width,
                        batch=request.batch,
                        task=Task(request.task),
                        output=_output(request, format_),
                        preprocess=request.preprocess and request.model.is_normalisation_known,
                        labels=(),
                        opset=_unusual(request.opset, format_.opsets),
                        half_io=request.half_io,
                        deployment_target=_unusual(deployment_target, format_.deployment_targets),
                        functions=tuple(each for each in sizes if each) if request.multifunction else (),
                    )
                )
    return targets


def _output(request: Request, format_: Format) -> Output:
    return Output.FEATURES if request.task == Task.FEATURES else Output(request.output or format_.default_output)


def _deployment_target(request: Request, format_: Format, precision: str) -> str | None:
    """The oldest system that an artifact is for; None for the format's usual one.

    Raises:
        BadInput: The precision needs a newer one than was asked for.
    """
    found = find_scheme(format_.name, precision)
    needs = [found.deployment_target] if found and found.deployment_target else []
    if request.multifunction and format_.multifunction_from:
        needs.append(format_.multifunction_from)
    if not needs:
        return request.deployment_target
    least = max(needs, key=format_.deployment_targets.index)
    asked = request.deployment_target
    if asked and format_.deployment_targets.index(asked) < format_.deployment_targets.index(least):
        raise BadInput(
            f"{precision} needs {least}, and this package is for {asked}.",
            f"Say --deployment-target {least}, or choose another --precision.",
        )
    return asked or least


def _check_quantisation(request: Request) -> None:
    """Refuse what quantised precisions alone have where none was asked for."""
    found = [each for f in request.formats for p in request.precisions if (each := find_scheme(f, p))]
    if request.calibration and not (found if request.allowed_loss is not None else any(e.is_calibrated for e in found)):
        raise BadInput(
            "None of the precisions that were asked for is calibrated.",
            "Leave out --calibration, or give a --precision that computes in integers, as int8.",
        )
    if request.allowed_loss is None:
        return
    if not found:
        raise BadInput(
            "--keep-accuracy is for quantised artifacts.", "Leave it out, or give a --precision as int8 or dynamic."
        )
    if not 0 <= request.allowed_loss < 100:
        raise BadInput(
            f"{request.allowed_loss:g} is no share of images, in percent.", "Give --keep-accuracy 0 to 100, as 0.5."
        )
    if request.task == Task.FEATURES:
        raise BadInput("Dense features have no accuracy to keep.", "Leave out --keep-accuracy.")


_MODULE_OPSET = 18
_QUANTISED_OPSET = 22  # ONNX Runtime 1.23 has no kernel for 23's QuantizeLinear
"""The least operator set that PyTorch's exporter writes."""


def _check_network(request: Request, sizes: tuple[Size, ...]) -> None:
    """Refuse what only EfficientViM has here."""
    name, fixed = request.model.name, request.model.fixed_size
    quantised = [precision for precision in request.precisions if precision not in UNQUANTISED]
    if quantised:
        raise BadInput(
            f"{name} is not written in {' or '.join(quantised)}: quantised artifacts are EfficientViM's.",
            f"Give --precision {' or '.join(UNQUANTISED)}.",
        )
    if request.task == Task.FEATURES:
        raise BadInput(f"{name} is exported as a classifier.", "Leave out --task: dense features are EfficientViM's.")
    if request.weights is not None and request.model.family == ModelFamily.ONNX:
        raise BadInput(f"{name} has weights of its own.", "Leave out --weights.")
    if None in sizes:
        raise BadInput(
            f"{name} is not proven at a dynamic resolution, which its own code may fix when it is traced.",
            "Export one artifact for each size (-r 224 -r 384).",
        )
    if fixed and any(size != fixed for size in sizes):
        side = f"{fixed[0]}x{fixed[1]}"
        raise BadInput(f"{name} takes images of {side} alone.", f"Leave out --resolution, or give {side}.")
    if request.multifunction:
        raise BadInput(f"{name} has one function for each package.", "Leave out --multifunction.")
    if request.opset is not None and request.opset < _MODULE_OPSET:
        raise BadInput(
            f"Operator set {request.opset} cannot be written of {name}: PyTorch's exporter begins at {_MODULE_OPSET}.",
            f"Give --opset {_MODULE_OPSET} or more.",
        )


def _check_format(request: Request, format_: Format, sizes: tuple[Size, ...]) -> None:
    """Refuse what a format does not have."""
    for precision in request.precisions:
        if precision not in format_.precisions:
            raise BadInput(
                f"{format_.name} has no precision {precision} here.", f"Give one of {', '.join(format_.precisions)}."
            )
    if not format_.dynamic and (None in sizes or request.batch is None):
        raise BadInput(
            f"{format_.name} has no dynamic batch or resolution here.",
            "Export one artifact for each size (-r 224 -r 384, -b 4), or use --format onnx.",
        )
    if request.half_io and not format_.opsets:
        raise BadInput(f"{format_.name} has no --half-io.", "Use --format onnx, or leave it out.")
    if request.opset is not None and request.opset not in format_.opsets:
        if not format_.opsets:
            raise BadInput(f"{format_.name} has no operator sets.", "Leave out --opset, or use --format onnx.")
        least, most = min(format_.opsets), max(format_.opsets)
        raise BadInput(f"Operator set {request.opset} cannot be written.", f"Give --opset {least} to {most}.")
    quantised = [precision for precision in request.precisions if find_scheme(format_.name, precision)]
    if quantised and request.opset is not None and request.opset > _QUANTISED_OPSET:
        raise BadInput(
            f"Operator set {request.opset} cannot be written in {quantised[0]}: ONNX Runtime does not compute its "
            "QuantizeLinear.",
            f"Give --opset {_QUANTISED_OPSET} or less.",
        )
    target, known = request.deployment_target, format_.deployment_targets
    if target is not None and target not in known:
        if not known:
            cause = f"{format_.name} has no deployment target."
            raise BadInput(cause, "Leave out --deployment-target, or use --format coreml.")
        raise BadInput(f"{format_.name} has no deployment target {target}.", f"Give one of {', '.join(known)}.")
    if request.multifunction:
        _check_multifunction(request, format_, sizes)


def _check_multifunction(request: Request, format_: Format, sizes: tuple[Size, ...]) -> None:
    if format_.multifunction_from is None:
        raise BadInput(
            f"{format_.name} has no files of several functions.", "Leave out --multifunction, or use --format coreml."
        )
    if len(sizes) < 2:
        raise BadInput(
            "One size needs one function.",
            "Give several (-r 224 -r 384 --multifunction), or leave out --multifunction.",
        )
    least, targets = format_.multifunction_from, format_.deployment_targets
    if targets.index(request.deployment_target or least) < targets.index(least):
        raise BadInput(
            f"A package of several functions needs {least}, and this one is for {request.deployment_target}.",
            f"Say --deployment-target {least}, or export one package for each size.",
        )


def _unusual(chosen: int | str | None, choices: tuple[Any, ...]) -> Any:
    """A choice that is not the format's usual one, else None."""
    return chosen if chosen in choices[1:] else None


def _check_size(size: Size) -> None:
    if size is not None and not all(MIN_RESOLUTION <= side <= MAX_RESOLUTION for side in size):
        raise BadInput(
            f"A resolution of {size[0]}x{size[1]} is impossible.",
            f"Give sides of {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels.",
        )
