"""The subjects of a benchmark: EfficientViM, its peers, a file, or the mixer layer alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy.catalog.variants import PUBLISHED, ModelName
from latency.enums import SubjectKind
from latency.peers import Peer


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, layer or file to time, before it is loaded.

    Attributes:
        kind: Kind of subject.
        name: Name in tables, in the paper's spelling if it has one.
        source: Name or path that the subject is built from: the short name of our model (``m4``), timm's name,
            ``single-head`` or ``multi-head``, or the path of a file.
        resolution: Native side of its images, pixels; 0 for an artifact, which states its own.
        paper: Row of the paper's tables, if any.
    """

    kind: SubjectKind
    name: str
    source: str
    resolution: int
    paper: str | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedSubject:
    """A subject that is ready for an engine at one image size.

    Attributes:
        source: Path of the file that the engine loads.
        shape: Shape of one image (C, H, W).
        expected: Path of a ``.npy`` file with the original model's output for the first image of
            :meth:`latency.engines.Job.images`, (1, ...) in float32; None if it could not be computed.
        reference: The program that computed the expected output, or the reason why there is none.
        weights: Origin of the weights; the word ``untrained`` marks untrained ones.
        form: Changes made to the model for inference, in words.
        parameters: Number of weights in this form; None if unknown.
        libraries: Modules that loading the file imports; a cold start excludes them.
        file_precision: Precision of the file.
        pixels: Whether an artifact has pixels 0-255 as its input (:attr:`latency.engines.Job.pixels`).
    """

    source: str
    shape: tuple[int, int, int]
    expected: str | None
    reference: str
    weights: str
    form: str
    parameters: int | None = None
    libraries: tuple[str, ...] = ()
    file_precision: str = "fp32"
    pixels: bool = False


MIXER_VARIANT = PUBLISHED["m2"]
"""The variant that the mixer layer is timed in: the paper's Figure 3 and its ablation of heads use M2."""

MIXERS = {"single-head": "HSM-SSD single-head", "multi-head": "HSM-SSD multi-head"}
"""The two forms of the HSM-SSD layer and their names in tables."""


def model_subject(model: ModelName) -> Subject:
    """Create the subject of an EfficientViM model.

    A distilled model has the speed of the plain one, so both share a row of the paper.
    """
    plain = f"EfficientViM-{model.variant.name.upper()}"
    return Subject(
        kind=SubjectKind.MODEL,
        name=f"{plain}-dist" if model.distilled else plain,
        source=model.short,
        resolution=model.variant.resolution,
        paper=plain if model.variant.name in PUBLISHED else None,
    )


def peer_subject(peer: Peer) -> Subject:
    """Create the subject of a timm network."""
    return Subject(
        kind=SubjectKind.PEER, name=peer.name, source=peer.timm, resolution=peer.resolution, paper=peer.paper
    )


def mixer_subjects() -> tuple[Subject, ...]:
    """Create the subjects of the HSM-SSD layer alone, single-head and multi-head, from the first stage of M2."""
    return tuple(
        Subject(kind=SubjectKind.MIXER, name=name, source=source, resolution=MIXER_VARIANT.resolution)
        for source, name in MIXERS.items()
    )


def artifact_subject(path: Path) -> Subject:
    """Create the subject of a file, named after the file. The file is not read."""
    return Subject(kind=SubjectKind.ARTIFACT, name=path.name, source=str(path), resolution=0)
