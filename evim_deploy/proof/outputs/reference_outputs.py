"""Images and the reference's outputs on them, each computed once for all artifacts of one reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.artifact.parity import Tolerance
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Task
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.protocols import Outputs, Reference
from evim_deploy.proof.outputs.inputs import Images, images_in, standard_images

Array = npt.NDArray[np.float32]
Size = tuple[int, int]
"""Height and width, pixels."""

_OTHER_SIZES = ((160, 224), (203, 131))  # compared besides the native size where an artifact's size is dynamic

_SimulatedKey = tuple[str, bool, str, str, Quantisation | None, Size]
"""Output, whether pixels are preprocessed, precision, format, quantisation, size."""


@dataclass(frozen=True, kw_only=True)
class ReferenceOutputs:
    """The reference's outputs on the standard images, and the tolerance of an artifact's.

    Attributes:
        names: Names of the N images.
        images: The artifact's input for each, (N, 3, H, W), float32.
        outputs: The reference's outputs by name, (N, ...).
        tolerance: The tolerance of the artifact at its own precision.
        smallest_probability: Smaller probabilities are compared as this.
    """

    names: tuple[str, ...]
    images: Array
    outputs: Outputs
    tolerance: Tolerance
    smallest_probability: float


class ReferenceCache:
    """The images of a comparison and the reference's outputs on them.

    Args:
        reference: The source model.
        native: Side of the images where an artifact's size is dynamic, pixels.
        folder: A folder of images to compare on besides the standard ones.
    """

    def __init__(self, reference: Reference, native: int, folder: Path | None = None) -> None:
        self.reference = reference
        self.native = native
        self._folder = folder
        self._images: dict[Size, Images] = {}
        self._published: dict[tuple[str, Size], Outputs] = {}
        self._simulated: dict[_SimulatedKey, Outputs] = {}

    def sizes(self, target: Target) -> list[Size]:
        """The image sizes to compare at: the artifact's own, or three where it is dynamic."""
        if target.height is None or target.width is None:
            return [(self.native, self.native), *_OTHER_SIZES]
        return [(target.height, target.width)]

    def names(self, target: Target, size: Size) -> list[str]:
        """Names of the images of a size."""
        return [name if target.height else f"{name} at {size[0]}x{size[1]}" for name in self._images_at(size)]

    def inputs(self, target: Target, size: Size) -> Array:
        """The artifact's input for all images of a size, (N, 3, H, W)."""
        pixels = self._pixels(size)
        return pixels if target.preprocess else normalise(pixels, self.reference.preprocessing)

    def batch(self, target: Target, first: str) -> Array:
        """One input batch of an artifact (B, 3, H, W): the named image and those that follow it in the set."""
        sizes = self.sizes(target)
        size = next((size for size in sizes if first in self.names(target, size)), sizes[0])
        names = self.names(target, size)
        start = names.index(first) if first in names else 0
        indices = [(start + offset) % len(names) for offset in range(target.batch or 1)]
        return self.inputs(target, size)[indices]

    def model_outputs(self, target: Target, size: Size) -> Outputs:
        """Outputs of the source model by name, (N, ...), computed one image at a time to bound the memory."""
        key = target.task, size
        if key not in self._published:
            self._published[key] = self.reference.outputs(target.task, self._normalised(size))
        outputs = self._published[key]
        return outputs if target.task == Task.FEATURES else {target.output: outputs[target.output]}

    def outputs_in(self, dtype: torch.dtype, target: Target, size: Size) -> Outputs:
        """Outputs of the source model in PyTorch, computed in a floating-point type.

        Raises:
            RuntimeError: A part of the network computes in a fixed type.
        """
        return self.reference.outputs_in(dtype, target.task, self._normalised(size))

    def simulated_outputs(self, target: Target, size: Size) -> Outputs:
        """Outputs of the rewritten network in float32, with its weights rounded to the stored values."""
        key = target.output, target.preprocess, target.precision, target.format, target.quantisation, size
        if key not in self._simulated:
            self._simulated[key] = self.reference.simulated_network(target).run(self.inputs(target, size))
        return self._simulated[key]

    def _images_at(self, size: Size) -> Images:
        if size not in self._images:
            own = images_in(self._folder, *size, self.reference.preprocessing) if self._folder else {}
            self._images[size] = {**standard_images(*size), **own}
        return self._images[size]

    def _pixels(self, size: Size) -> Array:
        return np.stack(list(self._images_at(size).values()))  # (N, 3, H, W), 0-255

    def _normalised(self, size: Size) -> Array:
        return normalise(self._pixels(size), self.reference.preprocessing)
