"""Make a subject ready for an engine: the file that the engine loads, and what the original model answers.

It runs in a process of its own, so that neither the time nor the memory of a conversion is counted. The original
is the network as it was published, in fp32, with nothing folded; the inference form has to give its answer.
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
from evim_deploy.catalog.terms import ArtifactFormat, Output, Precision, Task
from evim_deploy.catalog.variants import parse_model
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.common.progress import Silent
from evim_deploy.images import digits
from evim_deploy.networks.efficientvim.quantise_target import find
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.efficientvim.weights import resolve, usual_source
from evim_deploy.networks.torch_module.group_norm import split_means
from evim_deploy.quantise.schemes import scheme
from latency.artifacts import prepare_artifact
from latency.engines import Array, first_image
from latency.memory import was_refused
from latency.mixers import mixer, mixer_shape
from latency.ours import graph_module
from latency.subjects import MIXER_VARIANT, Prepared, Subject

if TYPE_CHECKING:
    from evim_deploy.graph.ir import Graph

TOLERANCE = 1e-4
"""Largest difference between the original and the inference form, both fp32, as a share of the largest logit."""

_ORDERS = 10.0
"""How much farther than a model's own rounding another order of its sums may lead."""

UNTRAINED = "untrained (seed 0)"
AGAINST = "PyTorch fp32, the model as published"

_OPSET = 18


@dataclass(frozen=True)
class _Built:
    """A subject as torch modules.

    Attributes:
        original: As published.
        inference: As it is timed.
        shape: Of one image (C, H, W).
        form: What was done to it for inference.
        weights: Where they come from.
        reference: Ours, from which the exporters write; None for others.
    """

    original: nn.Module
    inference: nn.Module
    shape: tuple[int, int, int]
    form: str
    weights: str = UNTRAINED
    reference: GraphReference | None = None


def prepare(
    subject: Subject, engine_takes: str, stored: str, batch: int, height: int, width: int, folder: Path
) -> Prepared:
    """Write a subject for an engine.

    A ``.pt`` file is the whole inference form, pickled: it is our own, in a folder of ours, so unpickling it is
    safe. Nobody else's files are ever read so.

    Args:
        subject: What.
        engine_takes: Suffix of the file that the engine loads.
        stored: Precision of the file. A quantised one is calibrated on the photographs that ship.
        batch: Images in one prediction; only ``.tflite`` and ``.mlpackage`` files are fixed to it.
        height: Of the images in pixels; 0 takes an artifact's own.
        width: Likewise.
        folder: A private one, which exists.

    Raises:
        BadInput: The subject cannot be had at this size, or in this kind of file.
        NotInstalled: What writes the file is missing.
        ParityFailed: The inference form does not give the original's answer.
    """
    if subject.kind == "artifact":
        return prepare_artifact(subject, engine_takes, height, width, folder)
    built = _BUILDERS[subject.kind](subject, height, width)
    image = first_image(built.shape)
    expected, against = None, AGAINST
    try:
        answer = answer_of(built.original, image)
        _compare(answer, answer_of(built.inference, image), subject, built.original, image)
    except (MemoryError, RuntimeError) as error:
        if not was_refused(error):
            raise
        against = "the model as published needs more memory than there is"
    else:
        expected = str(folder / "expected.npy")
        np.save(expected, answer)
    source = folder / f"{subject.source}{engine_takes}"
    if engine_takes not in _WRITERS:
        raise BadInput(f"Nothing here writes {engine_takes} files.", f"Use an engine that takes {', '.join(_WRITERS)}.")
    target, form = _target(engine_takes, stored, batch, height, width), built.form
    if built.reference is not None:
        target = find(built.reference, target, subject.resolution, None, None, Silent())
        form = ", ".join([form, *_quantised(target)])
    _WRITERS[engine_takes](built, target, source)
    parameters = sum(each.numel() for each in (*built.inference.parameters(), *built.inference.buffers()))
    libraries = ("timm",) if subject.kind == "peer" and engine_takes == ".pt" else ()
    return Prepared(str(source), built.shape, expected, against, built.weights, form, parameters, libraries, stored)


def answer_of(model: nn.Module, images: Array) -> Array:
    """A model's answer in float32."""
    with torch.no_grad():
        answer: Array = model(torch.from_numpy(images)).float().numpy()
    return answer


def _compare(expected: Array, found: Array, subject: Subject, original: nn.Module, image: Array) -> None:
    error = _difference(found, expected)
    if error <= TOLERANCE:  # which NaN is not
        return
    cause = (
        f"The inference form of {subject.name} differs from the model by {error:.1e} of its largest output, "
        f"and {TOLERANCE:.0e} is allowed."
    )
    own = _own_error(original, image, expected)
    if own > TOLERANCE and error <= _ORDERS * own:
        raise ParityFailed(
            f"{cause} With these weights it cannot be computed to that: its own float32 differs from its float64 by "
            f"{own:.1e}.",
            "Nothing of it is timed. Leave it out.",
        )
    raise ParityFailed(cause, "Nothing of it is timed. Please report this with the versions of torch and timm.")


def _own_error(model: nn.Module, image: Array, answer: Array) -> float:
    """How far a model's answer in float32 is from that in float64; 0 where a part of it computes in a fixed type."""
    try:
        with torch.no_grad():
            exact: Array = deepcopy(model).double()(torch.from_numpy(image).double()).numpy()
    except RuntimeError:
        return 0.0
    return _difference(answer, exact)


def _difference(found: Array, expected: Array) -> float:
    """The largest, of the largest output."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _ours(subject: Subject, height: int, width: int) -> _Built:
    name = parse_model(subject.source)
    ships = usual_source(name) == digits.SOURCE
    network, loaded = resolve(name, digits.SOURCE if ships else "random:0", None, Silent().step)
    reference = GraphReference(model=network, weights=loaded)
    graph, outcomes = reference.rewritten(_target(".onnx", "fp32", 1, height, width))
    folded = sum(dict(outcome.removed).get("batch_norm", 0) for outcome in outcomes)
    rewrites = sum(outcome.applied > 0 for outcome in outcomes)
    form = f"{rewrites} exact rewrites, {folded} BatchNorms folded"
    weights = f"{digits.SOURCE}, trained" if ships else UNTRAINED
    return _Built(reference.model, graph_module(graph), (3, height, width), form, weights, reference)


def _quantised(target: Target) -> Iterator[str]:
    """How a target is quantised, in words; nothing of one that is not."""
    found = scheme(target.format, target.precision)
    if found is None or target.quantisation is None:
        return
    yield found.meaning
    if calibration := target.quantisation.calibration:
        yield f"calibrated on {calibration.images} images ({calibration.source})"


def _peer(subject: Subject, height: int, width: int) -> _Built:
    import timm

    from evim_deploy.networks.torch_module.folding import fold, in_words
    from evim_deploy.networks.torch_module.seeding import sample_images, seed_weights

    config = timm.get_pretrained_cfg(subject.source)
    side = subject.resolution
    if config.fixed_input_size and (height, width) != (side, side):
        raise BadInput(f"{subject.name} takes images of {side}x{side} alone.", f"Time it at --resolution {side}.")
    model = timm.create_model(subject.source, pretrained=False)
    seed_weights(model, side, side)
    inference = deepcopy(model)
    form = in_words(fold(inference, sample_images(side, side)[:1]))
    return _Built(model, inference, (3, height, width), ", ".join(form))


def _mixer(subject: Subject, height: int, width: int) -> _Built:
    layer = mixer(subject.source, MIXER_VARIANT)
    return _Built(layer, layer, mixer_shape(MIXER_VARIANT, height, width), "as published: there is nothing to fold")


_BUILDERS: dict[str, Callable[[Subject, int, int], _Built]] = {"model": _ours, "peer": _peer, "mixer": _mixer}


def _target(takes: str, precision: str, batch: int, height: int, width: int) -> Target:
    """What our exporters are asked for: logits of normalised images, and an open batch where the format has one."""
    names = {row.suffix: row for row in exporters.FORMATS.values()}
    row = names.get(takes, exporters.FORMATS["onnx"])
    return Target(
        format=ArtifactFormat(row.name),
        precision=Precision(precision),
        height=height,
        width=width,
        batch=None if row.dynamic else batch,
        task=Task.CLASSIFY,
        output=Output.LOGITS,
        preprocess=False,
        labels=(),
    )


def _write_torch(built: _Built, target: Target, path: Path) -> None:
    torch.save(built.inference, path)


def _write_onnx(built: _Built, target: Target, path: Path) -> None:
    if built.reference is not None or target.precision != "fp32":
        _write_artifact(built, target, path)
        return
    exporters.require(exporters.FORMATS["onnx"], "torch_module")
    from exporters.onnx import torch_module

    # one image would be taken for a batch that is always one
    torch_module.export(built.inference, torch.zeros(2, *built.shape), target.output, path, _OPSET, dynamic_batch=True)


def _write_artifact(built: _Built, target: Target, path: Path) -> None:
    """As ``evim-deploy export`` does; it is the module that takes normalised images and gives logits."""
    row = exporters.FORMATS[target.format]
    form = "torch_module" if built.reference is None else "graph"
    exporters.require(row, form)
    exporters.load(row, form).build(_network(built, target), target, path)


def _network(built: _Built, target: Target) -> Graph | nn.Module:
    """What the exporters of its form write."""
    if built.reference is not None:
        return built.reference.stored(target)
    module = deepcopy(built.inference)
    split_means(module)
    return module


_WRITERS: dict[str, Callable[[_Built, Target, Path], None]] = {
    ".pt": _write_torch,
    ".onnx": _write_onnx,
    ".tflite": _write_artifact,
    ".mlpackage": _write_artifact,
}
