"""What an artifact says about photographs, from the artifact's own metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import runtimes
from evim_deploy.accuracy.classifier import open_classifier
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import open_image


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
    with open_classifier(artifact, engine) as classifier:
        manifest = classifier.manifest
        pixels = np.stack([classifier.prepare(open_image(path)) for path in images])  # (images, H, W, 3)
        probabilities = classifier.probabilities(pixels)
    labels = manifest.target.labels
    return Report(
        manifest.document,
        classifier.engine,
        tuple(
            Prediction(
                str(path),
                tuple(Guess(int(i), labels[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]),
            )
            for path, row in zip(images, probabilities, strict=True)
        ),
    )
