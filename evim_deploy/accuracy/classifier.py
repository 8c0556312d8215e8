"""An artifact as a classifier: from photographs to probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import runtimes
from evim_deploy.artifact.reading import Manifest, embedded_manifest
from evim_deploy.catalog.terms import Output, Task
from evim_deploy.common.errors import BadInput
from evim_deploy.common.numerics import ACTIVATIONS, batches
from evim_deploy.images.preprocessing import Pixels, normalise, resize_and_crop

if TYPE_CHECKING:
    from PIL import Image

_LARGEST_BATCH = 16  # of a dynamic batch, to bound the memory


@dataclass(frozen=True)
class Classifier:
    """A loaded artifact.

    Attributes:
        manifest: Its manifest.
        engine: Name of its engine.
        session: Its session in that engine.
    """

    manifest: Manifest
    engine: str
    session: runtimes.Session

    def prepare(self, image: Image.Image) -> Pixels:
        """Resize and crop an RGB image as for evaluation, (H, W, 3).

        Raises:
            BadInput: The image is too narrow.
        """
        return resize_and_crop(image, *image_size(self.manifest), self.manifest.preprocessing)

    def probabilities(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        """Probabilities (N, classes) for prepared images (N, H, W, 3)."""
        target, preprocessing = self.manifest.target, self.manifest.preprocessing
        rows = []
        for indices in batches(len(pixels), target.batch or min(len(pixels), _LARGEST_BATCH)):
            image = pixels[indices].transpose(0, 3, 1, 2).astype(np.float32)  # (B, 3, H, W)
            values = self.session.run(image if target.preprocess else normalise(image, preprocessing))[target.output]
            rows.append(values if target.output == Output.PROBABILITIES else ACTIVATIONS[target.activation](values))
        return np.concatenate(rows)[: len(pixels)].astype(np.float64)


@contextmanager
def open_classifier(artifact: Path, engine: runtimes.Engine | None = None) -> Iterator[Classifier]:
    """Load an artifact, by default in the first of its engines that exists on this host.

    Raises:
        BadInput: It is damaged, foreign, or not an image classifier.
        NotInstalled: Its engine is missing.
        NotRunHere: Its engine does not exist on this host.
    """
    engine = engine or runtimes.first_available(runtimes.engines_for(artifact))
    with runtimes.open_artifact(artifact, engine) as session:
        manifest = embedded_manifest(session.metadata, artifact)
        require_classifier(manifest, artifact)
        yield Classifier(manifest, engine.name, session)


def require_classifier(manifest: Manifest, artifact: Path) -> None:
    """Check that an artifact is a classifier with a known preprocessing.

    Raises:
        BadInput: It is not.
    """
    if manifest.target.task != Task.CLASSIFY:
        raise BadInput(f"{artifact} has dense features as outputs, not classes.", "Export it with --task classify.")
    if manifest.preprocessing.assumed:
        raise BadInput(
            f"{artifact} does not say how its images are normalised.", "Export its network with --mean and --std."
        )


def image_size(manifest: Manifest) -> tuple[int, int]:
    """Height and width of an artifact's images, pixels; the native size if it is dynamic."""
    native = manifest.model.resolution
    return manifest.target.height or native, manifest.target.width or native


def batch_size(manifest: Manifest) -> int:
    """Number of images in a batch of an artifact."""
    return manifest.target.batch or _LARGEST_BATCH
