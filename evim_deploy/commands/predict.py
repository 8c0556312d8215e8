"""Classify photographs with an artifact, by the artifact's own metadata."""

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
    """The most probable classes of one image in descending order."""

    image: str
    top: tuple[Guess, ...]


@dataclass(frozen=True)
class Predictions:
    """Predictions, and the manifest and engine of the artifact that made them."""

    manifest: Mapping[str, Any]
    engine: str
    predictions: tuple[Prediction, ...]


def predict(artifact: Path, images: list[Path], top: int, engine: runtimes.Engine | None = None) -> Predictions:
    """Classify photographs with an artifact.

    Args:
        artifact: A classifier made by ``evim-deploy export``.
        images: Image files that Pillow reads.
        top: Number of classes to return for each image.
        engine: The engine to run; None for the first one on this host.

    Raises:
        BadInput: The artifact is damaged, foreign or not a classifier, or an image cannot be read.
        NotInstalled: The package of the artifact's engine is missing.
        NotRunHere: The artifact's engine does not exist on this host.
    """
    if top < 1:
        raise BadInput(f"--top must be at least 1, got {top}.", "Give --top 1 or more.")
    with open_classifier(artifact, engine) as classifier:
        manifest = classifier.manifest
        pixels = np.stack([classifier.prepare(open_image(path)) for path in images])  # (images, H, W, 3)
        probabilities = classifier.probabilities(pixels)
    labels = manifest.target.labels
    return Predictions(
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
