"""A request for artifacts, checked and resolved into targets before a heavy package is imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import UNQUANTISED, ModelFamily, ModelKind, Output, Precision, Task
from evim_deploy.catalog.variants import MAX_BATCH, MAX_RESOLUTION, MIN_CLASSES, MIN_RESOLUTION
from evim_deploy.common.errors import BadInput
from evim_deploy.quantise.schemes import find_scheme
from exporters import FORMATS, Format

Size = tuple[int, int] | None
"""Height and width in pixels, or None for dynamic."""

_MODULE_OPSET = 18
"""The lowest operator set that PyTorch's exporter writes."""

_QUANTISED_OPSET = 22
"""The highest operator set for quantised files: ONNX Runtime 1.23 has no kernel for QuantizeLinear 23."""

_Choice = TypeVar("_Choice", int, str)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of an export; None means the default of the model or the format.

    Attributes:
        model: The model to export.
        formats: Names of rows in :data:`exporters.FORMATS`.
        precisions: Precisions that every format supports; empty for each format's default.
        sizes: (height, width) in pixels for each artifact, None for dynamic; empty for the model's native size.
        batch: Number of images in one prediction, None for dynamic.
        weights: The weights, as in ``--weights``.
        num_classes: Number of classes of the heads.
        labels: File with the names of the classes.
        task: ``classify`` or ``features``.
        output: ``logits`` or ``probabilities``.
        preprocess: Whether the input is RGB pixels 0-255.
        opset: ONNX operator set.
        half_io: Whether fp16 ONNX files have float16 inputs and outputs.
        deployment_target: Minimum system version of Core ML packages.
        multifunction: Whether one artifact contains a function for each size.
        calibration: Calibration images for quantised values; None for the images that ship.
        allowed_loss: Largest share of calibration images whose prediction may change, in percent; the costliest layers
            stay in float until that holds. None to quantise all layers.
        output_dir: Folder for the artifacts.
        overwrite: Whether existing files may be replaced.
        golden: Whether to write a golden file beside each artifact.
        verify: True to require a parity check, False to skip it, None to check if this host can.
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


def plan_targets(request: Request) -> list[Target]:
    """The artifacts of a request, without their labels.

    Raises:
        BadInput: An option is out of range, or is not supported by the model or a format.
    """
    native = request.model.resolution
    sizes = tuple(dict.fromkeys(request.sizes or (request.model.fixed_size or (native, native),)))
    _check_task(request)
    if request.batch is not None and not 1 <= request.batch <= MAX_BATCH:
        raise BadInput(
            f"The batch must be 1 to {MAX_BATCH} images, got {request.batch}.", "Give --batch a number in that range."
        )
    if request.model.kind != ModelKind.GRAPH:
        _check_network(request, sizes)
    for size in sizes:
        _check_size(size)
        if request.golden and size is None:
            raise BadInput(
                "Golden files need a fixed resolution: 'dynamic' is not allowed.",
                "Give a size with --resolution, or leave out --golden.",
            )
    _check_quantisation(request)
    return [target for name in dict.fromkeys(request.formats) for target in _targets(request, FORMATS[name], sizes)]


def _targets(request: Request, format_: Format, sizes: tuple[Size, ...]) -> Iterator[Target]:
    """The artifacts of a request in one format: all sizes in each precision."""
    _check_format(request, format_, sizes)
    precisions = tuple(dict.fromkeys(request.precisions or format_.precisions[:1]))
    if request.half_io and precisions != (Precision.FP16,):
        raise BadInput("--half-io requires the precision fp16.", "Add --precision fp16, and no other precision.")
    for size in sizes[:1] if request.multifunction else sizes:
        height, width = size or (None, None)
        for precision in precisions:
            deployment_target = _deployment_target(request, format_, precision)
            yield Target(
                format=format_.name,
                precision=Precision(precision),
                height=height,
                width=width,
                batch=request.batch,
                task=Task(request.task),
                output=_output(request, format_),
                preprocess=request.preprocess and request.model.is_normalisation_known,
                labels=(),
                opset=_unless_default(request.opset, format_.opsets),
                half_io=request.half_io,
                deployment_target=_unless_default(deployment_target, format_.deployment_targets),
                functions=tuple(each for each in sizes if each) if request.multifunction else (),
            )


def _output(request: Request, format_: Format) -> Output:
    return Output.FEATURES if request.task == Task.FEATURES else Output(request.output or format_.default_output)


def _deployment_target(request: Request, format_: Format, precision: str) -> str | None:
    """The minimum system version of an artifact; None for the format's default.

    Raises:
        BadInput: The precision requires a newer version than the requested one.
    """
    quantisation = find_scheme(format_.name, precision)
    needs = [quantisation.deployment_target] if quantisation and quantisation.deployment_target else []
    if request.multifunction and format_.multifunction_from:
        needs.append(format_.multifunction_from)
    if not needs:
        return request.deployment_target
    least = max(needs, key=format_.deployment_targets.index)
    requested = request.deployment_target
    if requested and format_.deployment_targets.index(requested) < format_.deployment_targets.index(least):
        raise BadInput(
            f"{precision} requires the deployment target {least}, got {requested}.",
            f"Give --deployment-target {least}, or choose another --precision.",
        )
    return requested or least


def _check_task(request: Request) -> None:
    if request.task == Task.FEATURES and (request.output or request.labels or request.num_classes is not None):
        raise BadInput(
            "Dense features have no classes.",
            "Leave out --output, --labels and --num-classes, or use --task classify.",
        )
    if request.num_classes is not None and request.num_classes < MIN_CLASSES:
        raise BadInput(
            f"num_classes must be at least {MIN_CLASSES}, got {request.num_classes}.",
            f"Give --num-classes {MIN_CLASSES} or more.",
        )


def _check_quantisation(request: Request) -> None:
    """Refuse options of quantised precisions in a request without one."""
    schemes = [each for f in request.formats for p in request.precisions if (each := find_scheme(f, p))]
    usable = schemes if request.allowed_loss is not None else [each for each in schemes if each.is_calibrated]
    if request.calibration and not usable:
        raise BadInput(
            "--calibration requires a precision that is calibrated.",
            "Leave out --calibration, or give a --precision that computes in integers, for example int8.",
        )
    if request.allowed_loss is None:
        return
    if not schemes:
        raise BadInput(
            "--keep-accuracy requires a quantised precision.",
            "Leave it out, or give a --precision such as int8 or dynamic.",
        )
    if not 0 <= request.allowed_loss < 100:
        raise BadInput(
            f"--keep-accuracy must be at least 0 and below 100 percent, got {request.allowed_loss:g}.",
            "Give the percentage of predictions that may change, for example 0.5.",
        )
    if request.task == Task.FEATURES:
        raise BadInput("--keep-accuracy requires a classifier.", "Leave out --keep-accuracy, or use --task classify.")


def _check_network(request: Request, sizes: tuple[Size, ...]) -> None:
    """Refuse options that only EfficientViM supports."""
    name, fixed = request.model.name, request.model.fixed_size
    quantised = [precision for precision in request.precisions if precision not in UNQUANTISED]
    if quantised:
        raise BadInput(
            f"{name} cannot be exported in {' or '.join(quantised)}: only EfficientViM can be quantised.",
            f"Give --precision {' or '.join(UNQUANTISED)}.",
        )
    if request.task == Task.FEATURES:
        raise BadInput(
            f"{name} can only be exported as a classifier.", "Leave out --task: only EfficientViM has dense features."
        )
    if request.weights is not None and request.model.family == ModelFamily.ONNX:
        raise BadInput(f"{name} contains its own weights.", "Leave out --weights.")
    if None in sizes:
        raise BadInput(
            f"{name} cannot be exported at a dynamic resolution, which its code may fix when it is traced.",
            "Export one artifact for each size (-r 224 -r 384).",
        )
    if fixed and any(size != fixed for size in sizes):
        side = f"{fixed[0]}x{fixed[1]}"
        raise BadInput(f"{name} accepts only images of {side}.", f"Leave out --resolution, or give {side}.")
    if request.multifunction:
        raise BadInput(f"{name} does not support --multifunction.", "Leave out --multifunction.")
    if request.opset is not None and request.opset < _MODULE_OPSET:
        raise BadInput(
            f"Operator set {request.opset} is not supported for {name}: PyTorch's exporter starts at {_MODULE_OPSET}.",
            f"Give --opset {_MODULE_OPSET} or more.",
        )


def _check_format(request: Request, format_: Format, sizes: tuple[Size, ...]) -> None:
    """Refuse options that a format does not support."""
    for precision in request.precisions:
        if precision not in format_.precisions:
            raise BadInput(
                f"{format_.name} does not support the precision {precision}.",
                f"Give one of {', '.join(format_.precisions)}.",
            )
    if not format_.dynamic and (None in sizes or request.batch is None):
        raise BadInput(
            f"{format_.name} does not support a dynamic batch or resolution.",
            "Export one artifact for each size (-r 224 -r 384, -b 4), or use --format onnx.",
        )
    if request.half_io and not format_.opsets:
        raise BadInput(f"{format_.name} does not support --half-io.", "Use --format onnx, or leave it out.")
    if request.opset is not None:
        _check_opset(request, format_, request.opset)
    target, known = request.deployment_target, format_.deployment_targets
    if target is not None and target not in known:
        if not known:
            cause = f"{format_.name} does not support --deployment-target."
            raise BadInput(cause, "Leave out --deployment-target, or use --format coreml.")
        raise BadInput(
            f"{format_.name} does not support the deployment target {target}.", f"Give one of {', '.join(known)}."
        )
    if request.multifunction:
        _check_multifunction(request, format_, sizes)


def _check_opset(request: Request, format_: Format, opset: int) -> None:
    if not format_.opsets:
        raise BadInput(f"{format_.name} does not support --opset.", "Leave out --opset, or use --format onnx.")
    if opset not in format_.opsets:
        lowest, highest = min(format_.opsets), max(format_.opsets)
        raise BadInput(f"Operator set {opset} is not supported.", f"Give --opset {lowest} to {highest}.")
    quantised = [precision for precision in request.precisions if find_scheme(format_.name, precision)]
    if quantised and opset > _QUANTISED_OPSET:
        raise BadInput(
            f"Operator set {opset} is not supported in {quantised[0]}: ONNX Runtime does not compute its "
            "QuantizeLinear.",
            f"Give --opset {_QUANTISED_OPSET} or less.",
        )


def _check_multifunction(request: Request, format_: Format, sizes: tuple[Size, ...]) -> None:
    if format_.multifunction_from is None:
        raise BadInput(
            f"{format_.name} does not support --multifunction.", "Leave out --multifunction, or use --format coreml."
        )
    if len(sizes) < 2:
        raise BadInput(
            "--multifunction requires several resolutions.",
            "Give several (-r 224 -r 384 --multifunction), or leave out --multifunction.",
        )
    least, targets = format_.multifunction_from, format_.deployment_targets
    if targets.index(request.deployment_target or least) < targets.index(least):
        raise BadInput(
            f"--multifunction requires the deployment target {least}, got {request.deployment_target}.",
            f"Give --deployment-target {least}, or export one package for each size.",
        )


def _unless_default(chosen: _Choice | None, choices: tuple[_Choice, ...]) -> _Choice | None:
    """A choice other than the format's default, else None."""
    return chosen if chosen in choices[1:] else None


def _check_size(size: Size) -> None:
    if size is not None and not all(MIN_RESOLUTION <= side <= MAX_RESOLUTION for side in size):
        raise BadInput(
            f"The resolution must be {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels a side, got {size[0]}x{size[1]}.",
            "Give --resolution sides in that range.",
        )
