"""Texts on an artifact for people, which developers' tools show; every format has its own place for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evim_deploy import __version__
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import TensorSpec
from evim_deploy.artifact.target import UNTRAINED_NOTICE, Target, Weights
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import Activation, Output, Task
from evim_deploy.images import digits


@dataclass(frozen=True, kw_only=True)
class Descriptions:
    """The texts on an artifact.

    Attributes:
        description: One sentence.
        author: The program that made the file.
        licence: The licence of its weights.
        version: Equal for artifacts that the same evim-deploy made of the same weights.
        ports: A description of each input and output, by its name.
    """

    description: str
    author: str
    licence: str
    version: str
    ports: Mapping[str, str]


def describe_artifact(info: ArtifactInfo) -> Descriptions:
    """The texts on an artifact."""
    target, signature = info.target, info.signature
    return Descriptions(
        description=describe(info.model, target, info.weights),
        author=f"evim-deploy {__version__}",
        licence=_licence(info.weights),
        version=f"{__version__}, weights {info.weights.sha256[:12]}",
        ports={
            **{spec.name: _input(spec, target) for spec in signature.inputs},
            **{spec.name: _output(spec, target) for spec in signature.outputs},
        },
    )


def describe(model: Model, target: Target, weights: Weights) -> str:
    """One sentence on an artifact, for its metadata."""
    outputs = "dense features at strides 16, 32 and 64" if target.task == Task.FEATURES else target.output
    notice = "" if weights.trained else f" {UNTRAINED_NOTICE} ({weights.source})."
    return f"{model.name}, {target.precision}, {outputs}.{notice}"


_TIMM = ("timm:efficientvim_", "hf:timm/efficientvim_")
"""Sources of the published weights; timm states their licence in timm/models/efficientvim.py."""


def _licence(weights: Weights) -> str:
    """The licence of an artifact is the licence of its weights; evim-deploy's own does not cover them."""
    if not weights.trained:
        return "MIT, as evim-deploy, which drew these untrained weights"
    if weights.source == digits.SOURCE:
        return "MIT, as evim-deploy; trained on the UCI optical digits by E. Alpaydin and C. Kaynak, CC BY 4.0"
    if weights.source.startswith(_TIMM):
        return f"MIT, as timm says of {weights.source}"
    return f"That of the weights that it was made from, {weights.source}"


def _input(spec: TensorSpec, target: Target) -> str:
    if spec.dtype == "image":
        return "RGB image, resized and cropped as the model expects; its normalisation is inside"
    if target.preprocess:
        return f"RGB pixels 0-255, {spec.layout}; their normalisation is inside"
    return f"Normalised RGB pixels, {spec.layout}"


def _output(spec: TensorSpec, target: Target) -> str:
    classes = len(target.labels)
    if target.task == Task.FEATURES:
        return f"Feature map at stride {spec.name.removeprefix('stride')}, {spec.layout}"
    if spec.dtype == "string":
        return f"The likeliest of {classes} classes"
    each = " by itself" if target.activation == Activation.SIGMOID else ""
    if target.output == Output.LOGITS:
        return f"A score for each of {classes} classes; {target.activation} makes probabilities of them"
    return f"The probability of each of {classes} classes{each}"
