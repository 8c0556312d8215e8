"""What can be timed: EfficientViM, its peers, a file, a mixer alone; and what a name on the command line means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy.catalog.variants import PUBLISHED, ModelName
from latency.peers import Peer


@dataclass(frozen=True)
class Subject:
    """One thing to time, before anything is loaded.

    Attributes:
        kind: ``model``, ``peer``, ``mixer`` or ``artifact``.
        name: As tables call it, the paper's spelling where it has one.
        source: What it is built from: our model's short name (``m4``), timm's name, ``single-head`` or
            ``multi-head``, a file's path.
        resolution: Native side of its images in pixels; 0 for an artifact, which says itself.
        paper: Its row in the paper's tables, if any.
    """

    kind: str
    name: str
    source: str
    resolution: int
    paper: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A subject made ready for an engine at a size.

    Attributes:
        source: The file for the engine.
        shape: Of one image (C, H, W).
        expected: A ``.npy`` with what the original model answers to the first image of
            :meth:`latency.engines.Job.images`, (1, ...) in float32; None where it could not be had.
        against: What that answer was computed with, or why there is none.
        weights: Where the weights come from; untrained ones are called so.
        form: What was done to the model for inference, in words.
        parameters: Weights that it has in this form; None where that is not known.
        libraries: Modules that reading the file imports; a cold start does not count them.
        stored: Precision of the file.
        pixels: Whether an artifact takes pixels 0-255 (:attr:`latency.engines.Job.pixels`).
    """

    source: str
    shape: tuple[int, int, int]
    expected: str | None
    against: str
    weights: str
    form: str
    parameters: int | None
    libraries: tuple[str, ...] = ()
    stored: str = "fp32"
    pixels: bool = False


MIXER_VARIANT = PUBLISHED["m2"]
"""Whose HSM-SSD layer is timed alone: the paper's Figure 3 and its ablation of heads have M2's."""

MIXERS = {"single-head": "HSM-SSD single-head", "multi-head": "HSM-SSD multi-head"}
"""The two forms of that layer, and what tables call them."""


def model_subject(model: ModelName) -> Subject:
    """EfficientViM. A distilled model stands beside the paper's row of the plain one, whose speed it has there."""
    plain = f"EfficientViM-{model.variant.name.upper()}"
    name = f"{plain}-dist" if model.distilled else plain
    paper = plain if model.variant.name in PUBLISHED else None
    return Subject("model", name, model.short, model.variant.resolution, paper)


def peer_subject(peer: Peer) -> Subject:
    """A network of timm."""
    return Subject("peer", peer.name, peer.timm, peer.resolution, peer.paper)


def mixer_subjects() -> tuple[Subject, ...]:
    """The HSM-SSD layer alone, single-head and multi-head, as the first stage of EfficientViM-M2 has it."""
    return tuple(Subject("mixer", name, source, MIXER_VARIANT.resolution) for source, name in MIXERS.items())


def artifact_subject(path: Path) -> Subject:
    """A file, by its name; nothing of it is read yet."""
    return Subject("artifact", path.name, str(path), 0)
