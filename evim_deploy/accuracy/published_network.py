"""The source network of an artifact, as published, as a classifier of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.common.numerics import batches
from evim_deploy.images.preprocessing import place

if TYPE_CHECKING:
    from PIL import Image

    from evim_deploy.images.published_transform import Transform
    from evim_deploy.networks.protocols import Reference

_LARGEST_BATCH = 16
_LARGEST_PIXELS = _LARGEST_BATCH * 256 * 256  # of a batch, to bound the memory


@dataclass(frozen=True)
class PublishedNetwork:
    """The network as published, in float32, with the published evaluation's own transform.

    Attributes:
        reference: The network.
        size: Height and width of its images, pixels.
        transform: The published transform of that size; a fault in our own crop reduces the agreement.
    """

    reference: Reference
    size: tuple[int, int]
    transform: Transform

    def prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Transform an RGB image to the network's normalised input (3, H, W).

        Raises:
            BadInput: The image is too narrow for an artifact too, and the transform would exhaust the memory.
        """
        place((image.height, image.width), self.size, self.reference.preprocessing)
        return self.transform(image)

    def probabilities(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities (N, classes) for normalised images (N, 3, H, W).

        Only full batches are computed, so that results do not depend on where an evaluation was resumed.
        """
        indices = np.concatenate(batches(len(images), self.batch))
        probabilities = self.reference.outputs("classify", images[indices], self.batch)["probabilities"]
        return probabilities[: len(images)].astype(np.float64)

    @property
    def batch(self) -> int:
        """Number of images in a batch."""
        return min(max(_LARGEST_PIXELS // prod(self.size), 1), _LARGEST_BATCH)
