"""Preparation of a subject for an engine: the file that the engine loads, and the original model's output.

Preparation runs in a process of its own, so that neither the time nor the memory of a conversion is counted. The
original is the published network in fp32, without folding; the inference form must have the same output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import exporters
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import ArtifactFormat, ModelKind, Output, Precision, Task
from evim_deploy.catalog.variants import parse_model
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.common.progress import Silent
from evim_deploy.images import digits
from evim_deploy.networks.efficientvim.quantise_target import quantise_target
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.weights import default_source, resolve
from evim_deploy.networks.torch_module.group_norm import split_means
from evim_deploy.quantise.schemes import find_scheme
from latency.artifacts import prepare_artifact
from latency.engines import Array, first_image
from latency.enums import SubjectKind
from latency.graph_module import graph_module
from latency.memory import is_out_of_memory
from latency.mixers import mixer, mixer_shape
from latency.subjects import MIXER_VARIANT, PreparedSubject, Subject

if TYPE_CHECKING:
    from evim_deploy.graph.ir import Graph

TOLERANCE = 1e-4
"""Largest allowed difference between the original and the inference form, both fp32, relative to the largest logit."""

_REORDERING = 10.0
"""Largest error of a reordered sum, in multiples of the model's own rounding error."""

UNTRAINED = "untrained (seed 0)"
REFERENCE = "PyTorch fp32, the model as published"

_OPSET = 18


@dataclass(frozen=True, kw_only=True)
class _BuiltSubject:
    """A subject as torch modules.

    Attributes:
        original: The published model.
        inference: The inference form, which is timed.
        shape: Shape of one image (C, H, W).
        form: Changes made for inference, in words.
        weights: Origin of the weights.
        reference: The reference of our model, which the exporters read; None for other subjects.
    """

    original: nn.Module
    inference: nn.Module
    shape: tuple[int, int, int]
    form: str
    weights: str = UNTRAINED
    reference: GraphReference | None = None


def prepare(
    subject: Subject,
    file_suffix: str,
    *,
    folder: Path,
    file_precision: str,
    batch: int,
    height: int,
    width: int,
) -> PreparedSubject:
    """Write the file of a subject for an engine.

    A ``.pt`` file is the pickled inference form. Unpickling it is safe, because this process writes it to a private
    folder; no other ``.pt`` file is ever loaded this way.

    Args:
        subject: The model, layer or file to prepare.
        file_suffix: Suffix of the file that the engine loads.
        folder: An existing private folder.
        file_precision: Precision of the file. A quantised one is calibrated on the photographs that ship.
        batch: Images in one prediction; only ``.tflite`` and ``.mlpackage`` files fix it.
        height: Height of the images, pixels; 0 for an artifact's own.
        width: Width of the images, pixels; likewise.

    Raises:
        BadInput: The subject does not support this size or this kind of file.
        NotInstalled: A package that writes the file is missing.
        ParityFailed: The output of the inference form differs from the original's.
    """
    if subject.kind == SubjectKind.ARTIFACT:
        return prepare_artifact(subject, file_suffix, height=height, width=width, folder=folder)
    built = _BUILDERS[subject.kind](subject, height, width)
    expected, reference = _write_expected(built, subject, folder)
    source = folder / f"{subject.source}{file_suffix}"
    if file_suffix not in _WRITERS:
        raise BadInput(f"Cannot write {file_suffix} files.", f"Use an engine that loads {', '.join(_WRITERS)}.")
    target = _target(file_suffix, precision=file_precision, batch=batch, height=height, width=width)
    form = built.form
    if built.reference is not None:
        target = quantise_target(
            built.reference,
            target,
            native_size=subject.resolution,
            source=None,
            allowed_loss=None,
            progress=Silent(),
        )
        form = ", ".join([form, *_describe_quantisation(target)])
    _WRITERS[file_suffix](built, target, source)
    parameters = sum(each.numel() for each in (*built.inference.parameters(), *built.inference.buffers()))
    return PreparedSubject(
        source=str(source),
        shape=built.shape,
        expected=expected,
        reference=reference,
        weights=built.weights,
        form=form,
        parameters=parameters,
        libraries=("timm",) if subject.kind == SubjectKind.PEER and file_suffix == ".pt" else (),
        file_precision=file_precision,
    )


def _write_expected(built: _BuiltSubject, subject: Subject, folder: Path) -> tuple[str | None, str]:
    """Write the original's output; returns its path and the reference, or the reason why there is no output.

    Raises:
        ParityFailed: The output of the inference form differs from the original's.
    """
    image = first_image(built.shape)
    try:
        output = run_module(built.original, image)
        _check_inference_form(built, subject, image, output)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None, "the model as published needs more memory than there is"
    path = str(folder / "expected.npy")
    np.save(path, output)
    return path, REFERENCE


def run_module(model: nn.Module, images: Array) -> Array:
    """The output of a model for images (B, C, H, W), in float32."""
    with torch.no_grad():
        output: Array = model(torch.from_numpy(images)).float().numpy()
    return output


def _check_inference_form(built: _BuiltSubject, subject: Subject, image: Array, expected: Array) -> None:
    """Compare the inference form's output with the original's.

    Raises:
        ParityFailed: They differ by more than :data:`TOLERANCE`.
    """
    error = _relative_error(run_module(built.inference, image), expected)
    if error <= TOLERANCE:  # false for NaN
        return
    cause = (
        f"The inference form of {subject.name} differs from the model by {error:.1e} of its largest output, "
        f"and {TOLERANCE:.0e} is allowed."
    )
    rounding = _rounding_error(built.original, image, expected)
    if rounding > TOLERANCE and error <= _REORDERING * rounding:
        raise ParityFailed(
            f"{cause} Its weights do not allow this accuracy: its own float32 output differs from its float64 output "
            f"by {rounding:.1e}.",
            "It was not timed. Leave it out.",
        )
    raise ParityFailed(cause, "It was not timed. Please report this with the versions of torch and timm.")


def _rounding_error(model: nn.Module, image: Array, output: Array) -> float:
    """The error of a model's float32 output, relative to float64; 0 if a part of it cannot compute in float64."""
    try:
        with torch.no_grad():
            exact: Array = deepcopy(model).double()(torch.from_numpy(image).double()).numpy()
    except RuntimeError:
        return 0.0
    return _relative_error(output, exact)


def _relative_error(output: Array, expected: Array) -> float:
    """The largest difference, relative to the largest magnitude of the expected output."""
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def _build_model(subject: Subject, height: int, width: int) -> _BuiltSubject:
    name = parse_model(subject.source)
    ships = default_source(name) == digits.SOURCE
    network, loaded = resolve(name, digits.SOURCE if ships else "random:0", None, Silent().step)
    reference = GraphReference(model=network, weights=loaded)
    graph, results = reference.rewritten(_target(".onnx", precision="fp32", batch=1, height=height, width=width))
    folded = sum(dict(result.removed).get("batch_norm", 0) for result in results)
    rewrites = sum(result.applied > 0 for result in results)
    form = f"{rewrites} exact rewrites, {folded} BatchNorms folded"
    weights = f"{digits.SOURCE}, trained" if ships else UNTRAINED
    return _BuiltSubject(
        original=reference.model,
        inference=graph_module(graph),
        shape=(3, height, width),
        form=form,
        weights=weights,
        reference=reference,
    )


def _describe_quantisation(target: Target) -> Iterator[str]:
    """Describe the quantisation of a target; empty if it is not quantised."""
    applied = find_scheme(target.format, target.precision)
    if applied is None or target.quantisation is None:
        return
    yield applied.description
    if calibration := target.quantisation.calibration:
        yield f"calibrated on {calibration.images} images ({calibration.source})"


def _build_peer(subject: Subject, height: int, width: int) -> _BuiltSubject:
    import timm

    from evim_deploy.networks.torch_module.folding import describe, fold
    from evim_deploy.networks.torch_module.seeding import sample_images, seed_weights

    config = timm.get_pretrained_cfg(subject.source)
    side = subject.resolution
    if config.fixed_input_size and (height, width) != (side, side):
        raise BadInput(f"{subject.name} supports only images of {side}x{side}.", f"Time it at --resolution {side}.")
    model = timm.create_model(subject.source, pretrained=False)
    seed_weights(model, side, side)
    inference = deepcopy(model)
    form = describe(fold(inference, sample_images(side, side)[:1]))
    return _BuiltSubject(original=model, inference=inference, shape=(3, height, width), form=", ".join(form))


def _build_mixer(subject: Subject, height: int, width: int) -> _BuiltSubject:
    layer = mixer(subject.source, MIXER_VARIANT)
    return _BuiltSubject(
        original=layer,
        inference=layer,
        shape=mixer_shape(MIXER_VARIANT, height, width),
        form="as published: there is nothing to fold",
    )


_BUILDERS: dict[SubjectKind, Callable[[Subject, int, int], _BuiltSubject]] = {
    SubjectKind.MODEL: _build_model,
    SubjectKind.PEER: _build_peer,
    SubjectKind.MIXER: _build_mixer,
}


def _target(file_suffix: str, *, precision: str, batch: int, height: int, width: int) -> Target:
    """The target of our exporters: logits of normalised images, with a dynamic batch if the format supports it."""
    formats = {row.suffix: row for row in exporters.FORMATS.values()}
    row = formats.get(file_suffix, exporters.FORMATS[ArtifactFormat.ONNX])
    return Target(
        format=row.name,
        precision=Precision(precision),
        height=height,
        width=width,
        batch=None if row.dynamic else batch,
        task=Task.CLASSIFY,
        output=Output.LOGITS,
        preprocess=False,
        labels=(),
    )


def _write_torch(built: _BuiltSubject, target: Target, path: Path) -> None:
    torch.save(built.inference, path)


def _write_onnx(built: _BuiltSubject, target: Target, path: Path) -> None:
    if built.reference is not None or target.precision != Precision.FP32:
        _write_artifact(built, target, path)
        return
    exporters.require(exporters.FORMATS[ArtifactFormat.ONNX], ModelKind.TORCH_MODULE)
    from exporters.onnx import torch_module

    # a batch of 1 would be exported as a fixed batch
    torch_module.export(built.inference, torch.zeros(2, *built.shape), target.output, path, _OPSET, dynamic_batch=True)


def _write_artifact(built: _BuiltSubject, target: Target, path: Path) -> None:
    """Write the file like ``evim-deploy export``, from normalised images to logits."""
    row = exporters.FORMATS[target.format]
    kind = ModelKind.TORCH_MODULE if built.reference is None else ModelKind.GRAPH
    exporters.require(row, kind)
    exporters.load(row, kind).build(_network(built, target), target, path)


def _network(built: _BuiltSubject, target: Target) -> Graph | nn.Module:
    """The graph or the module that the exporters read."""
    if built.reference is not None:
        return built.reference.stored_form(target)
    module = deepcopy(built.inference)
    split_means(module)
    return module


_WRITERS: dict[str, Callable[[_BuiltSubject, Target, Path], None]] = {
    ".pt": _write_torch,
    ".onnx": _write_onnx,
    ".tflite": _write_artifact,
    ".mlpackage": _write_artifact,
}
