"""What the tools of app developers show of an artifact, in every format that has a place for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evim_deploy import __version__
from evim_deploy.artifact.target import ArtifactInfo, Target, TensorSpec, Weights, describe
from evim_deploy.catalog.terms import Activation
from evim_deploy.images import digits


@dataclass(frozen=True, kw_only=True)
class About:
    """Texts for people.

    Attributes:
        description: One sentence.
        author: What made the file.
        licence: Of its weights.
        version: Two artifacts of one version are made of the same weights by the same evim-deploy.
        ports: What each input and output is, by its name.
    """

    description: str
    author: str
    licence: str
    version: str
    ports: Mapping[str, str]


def about(facts: ArtifactInfo) -> About:
    """The texts of an artifact."""
    target, contract = facts.target, facts.contract
    return About(
        description=describe(facts.model, target, facts.weights),
        author=f"evim-deploy {__version__}",
        licence=_licence(facts.weights),
        version=f"{__version__}, weights {facts.weights.sha256[:12]}",
        ports={
            **{spec.name: _input(spec, target) for spec in contract.inputs},
            **{spec.name: _output(spec, target) for spec in contract.outputs},
        },
    )


_TIMM = ("timm:efficientvim_", "hf:timm/efficientvim_")
"""Published weights: timm names their licence in its models' configurations (timm/models/efficientvim.py)."""


def _licence(weights: Weights) -> str:
    """An artifact's is that of its weights; evim-deploy's own licence says nothing of them."""
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
    if target.task == "features":
        return f"Feature map at stride {spec.name.removeprefix('stride')}, {spec.layout}"
    if spec.dtype == "string":
        return f"The likeliest of {classes} classes"
    each = " by itself" if target.activation == Activation.SIGMOID else ""
    if target.output == "logits":
        return f"A score for each of {classes} classes; {target.activation} makes probabilities of them"
    return f"The probability of each of {classes} classes{each}"
