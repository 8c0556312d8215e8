"""What an artifact says about photographs, from the artifact's own metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import runtimes
from evim_deploy.arrays import batches, softmax
from evim_deploy.errors import BadInput
from evim_deploy.manifest import Manifest, embedded_manifest
from evim_deploy.preprocessing import normalise, open_image, resize_and_crop

_LARGEST_BATCH = 16  # what a dynamic batch is filled with, for the memory's sake


@dataclass(frozen=True)
class Guess:
    """One class of a prediction; the probability is between 0 and 1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one image, the likeliest first."""

    image: str
    top: tuple[Guess, ...]


@dataclass(frozen=True)
class Report:
    """Predictions, and the manifest of the artifact that made them."""

    manifest: Mapping[str, Any]
    engine: str
    predictions: tuple[Prediction, ...]


def predict(artifact: Path, images: list[Path], top: int, engine: runtimes.Engine | None = None) -> Report:
    """Classify photographs with an artifact.

    Args:
        artifact: Made by ``evim-deploy export`` for classification.
        images: Files that Pillow reads.
        top: How many classes of each image to give.
        engine: That runs the artifact; None for the first that this host has.

    Raises:
        BadInput: The artifact or an image is damaged, foreign, or not for classification.
        NotInstalled: The artifact's engine is missing.
        NotRunHere: The artifact's engine does not exist on this host.
    """
    if top < 1:
        raise BadInput(f"--top {top} shows nothing.", "Give --top 1 or more.")
    engine = engine or runtimes.first_here(runtimes.engines_for(artifact))
    with runtimes.open_artifact(artifact, engine) as session:
        manifest = embedded_manifest(session.metadata, artifact)
        target, labels = manifest.target, manifest.target.labels
        if target.task != "classify":
            raise BadInput(f"{artifact} gives dense features, no classes.", "Export with --task classify to predict.")
        height, width = _sides(manifest)
        how = manifest.preprocessing
        if how.assumed:
            raise BadInput(
                f"{artifact} does not say how its images are normalised.", "Export its network with --mean and --std."
            )
        pixels = np.stack(
            [resize_and_crop(open_image(path), height, width, how) for path in images]
        )  # (images, H, W, 3)
        batch = target.batch or min(len(images), _LARGEST_BATCH)
        rows = []
        for indices in batches(len(images), batch):
            image = pixels[indices].transpose(0, 3, 1, 2).astype(np.float32)  # (B, 3, H, W)
            values = session.run(image if target.preprocess else normalise(image, how))[target.output]
            rows.append(values if target.output == "probabilities" else softmax(values))
    probabilities = np.concatenate(rows)[: len(images)]
    return Report(
        manifest.document,
        engine.name,
        tuple(
            Prediction(
                str(path),
                tuple(Guess(int(i), labels[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]),
            )
            for path, row in zip(images, probabilities, strict=True)
        ),
    )


def _sides(manifest: Manifest) -> tuple[int, int]:
    native = manifest.model.resolution
    return manifest.target.height or native, manifest.target.width or native
