"""An artifact as what it is for: photographs go in as they are, probabilities come out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import runtimes
from evim_deploy.artifact.manifest import Manifest, embedded_manifest
from evim_deploy.common.errors import BadInput
from evim_deploy.common.numerics import ACTIVATIONS, batches
from evim_deploy.images.preprocessing import Pixels, normalise, resize_and_crop

if TYPE_CHECKING:
    from PIL import Image

_LARGEST_BATCH = 16  # what a dynamic batch is filled with, for the memory's sake


@dataclass(frozen=True)
class Classifier:
    """An artifact that is loaded.

    Attributes:
        manifest: What it says of itself.
        engine: What runs it.
        session: It, in that engine.
    """

    manifest: Manifest
    engine: str
    session: runtimes.Session

    def prepare(self, image: Image.Image) -> Pixels:
        """An RGB image as the artifact's network is evaluated on it, (H, W, 3).

        Raises:
            BadInput: The image is too narrow a strip.
        """
        return resize_and_crop(image, *image_size(self.manifest), self.manifest.preprocessing)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        """Of each class, (N, classes), for prepared images (N, H, W, 3)."""
        target, how = self.manifest.target, self.manifest.preprocessing
        rows = []
        for indices in batches(len(pixels), target.batch or min(len(pixels), _LARGEST_BATCH)):
            image = pixels[indices].transpose(0, 3, 1, 2).astype(np.float32)  # (B, 3, H, W)
            values = self.session.run(image if target.preprocess else normalise(image, how))[target.output]
            rows.append(values if target.output == "probabilities" else ACTIVATIONS[target.activation](values))
        return np.concatenate(rows)[: len(pixels)].astype(np.float64)


@contextmanager
def open_classifier(artifact: Path, engine: runtimes.Engine | None = None) -> Iterator[Classifier]:
    """Load an artifact, in the first of its engines that exists on this host unless one is given.

    Raises:
        BadInput: It is damaged, foreign, or no classifier of images.
        NotInstalled: Its engine is missing.
        NotRunHere: Its engine does not exist on this host.
    """
    engine = engine or runtimes.first_available(runtimes.engines_for(artifact))
    with runtimes.open_artifact(artifact, engine) as session:
        manifest = embedded_manifest(session.metadata, artifact)
        require_classifier(manifest, artifact)
        yield Classifier(manifest, engine.name, session)


def require_classifier(manifest: Manifest, artifact: Path) -> None:
    """Check that an artifact gives classes, and says what it takes.

    Raises:
        BadInput: It does not.
    """
    if manifest.target.task != "classify":
        raise BadInput(f"{artifact} gives dense features, no classes.", "Export it with --task classify.")
    if manifest.preprocessing.assumed:
        raise BadInput(
            f"{artifact} does not say how its images are normalised.", "Export its network with --mean and --std."
        )


def image_size(manifest: Manifest) -> tuple[int, int]:
    """Height and width of the images that an artifact is given, pixels; the native one where it leaves that open."""
    native = manifest.model.resolution
    return manifest.target.height or native, manifest.target.width or native


def batch_size(manifest: Manifest) -> int:
    """How many images an artifact is given at once."""
    return manifest.target.batch or _LARGEST_BATCH
