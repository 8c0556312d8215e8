"""How far an artifact is from the PyTorch reference, unrewritten, over photographs and noise.

A difference is measured in units of the reference's largest magnitude. Probabilities are compared
as the logits they stand for, log p up to a constant of each image: a confident model's
probabilities would hide a wrong logit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evim_deploy import photographs
from evim_deploy.arrays import batches, softmax
from evim_deploy.artifact import Parity, Target
from evim_deploy.preprocessing import normalise

if TYPE_CHECKING:
    from evim_deploy.model import EfficientViM

Array = npt.NDArray[np.float32]

TOLERANCES = {
    "fp32": 1e-4,  # sums in another order; a wrong weight shows at 1e-3 and above
    "fp16": 2e-2,  # weights and values rounded to 11 bits
}

_NOISE_SEED = 0
_LARGE_PIXELS = 1024 * 1024  # from here on two images show what six do, in a third of the time
_OTHER_SIDES = (160, 224)  # where an artifact's sides are dynamic: another size than its native one


class Runs(Protocol):
    """Whatever computes an artifact's outputs by name from images (B, 3, H, W)."""

    def run(self, image: Array) -> dict[str, Array]: ...


@dataclass(frozen=True)
class Difference:
    """The largest difference of two outputs, relative to the reference's largest magnitude."""

    max_abs: float

    @staticmethod
    def of(reference: Array, actual: Array) -> Difference:
        """Compare two arrays of one shape; what is not finite in either is infinitely wrong."""
        if reference.shape != actual.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {actual.shape}")
        if not (np.isfinite(reference).all() and np.isfinite(actual).all()):
            return Difference(float("inf"))
        scale = float(np.abs(reference).max())
        largest = float(np.abs(reference.astype(np.float64) - actual).max())
        return Difference(largest / scale if scale else largest)


def check(model: EfficientViM, session: Runs, target: Target, native: int) -> Parity:
    """Compare an artifact with its reference.

    Args:
        model: The reference, in evaluation mode.
        session: The artifact in its engine.
        target: What the artifact is.
        native: The side to check at where the artifact's sides are dynamic, pixels.

    Returns:
        ``pass`` or ``fail``, with the engine left open for the caller to name.
    """
    worst, count = 0.0, 0
    for height, width in _sizes(target, native):
        pixels = _images(height, width)
        references = _reference(model, normalise(pixels), target)
        images = pixels if target.preprocess else normalise(pixels)
        for indices in batches(len(images), target.batch or len(images)):
            outputs = session.run(images[indices])
            for name, reference in references.items():
                expected, actual = reference[indices], outputs[name]
                if target.output == "probabilities":
                    expected, actual = _logits(softmax(expected)), _logits(actual)
                worst = max(worst, Difference.of(expected, actual).max_abs)
        count += len(images)
    tolerance = TOLERANCES[target.precision]
    status = "pass" if worst <= tolerance else "fail"
    return Parity(status, None, worst, tolerance, f"{count} images, photographs and noise")


def _sizes(target: Target, native: int) -> list[tuple[int, int]]:
    if target.height is None or target.width is None:
        return [(native, native), _OTHER_SIDES]
    return [(target.height, target.width)]


def _images(height: int, width: int) -> Array:
    """Photographs and noise, pixels 0-255, (6, 3, H, W); one of each where they are large."""
    large = height * width >= _LARGE_PIXELS
    names, noises = (photographs.NAMES[:1], 1) if large else (photographs.NAMES, 2)
    shots = np.stack([photographs.load(name, height, width) for name in names])
    noise = np.random.RandomState(_NOISE_SEED).randint(0, 256, (noises, height, width, 3))
    return np.concatenate([shots, noise]).transpose(0, 3, 1, 2).astype(np.float32)


def _reference(model: EfficientViM, images: Array, target: Target) -> dict[str, Array]:
    """The reference's outputs by name, one image at a time, which bounds the memory."""
    import torch

    from evim_deploy.lowering import FEATURE_OUTPUTS

    names = FEATURE_OUTPUTS if target.task == "features" else (target.output,)
    with torch.no_grad():
        each = [torch.from_numpy(images[i : i + 1]) for i in range(len(images))]
        rows = [model.features(image) if target.task == "features" else [model(image)] for image in each]
    return {name: torch.cat(column).numpy() for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _logits(probabilities: npt.NDArray[Any]) -> Array:
    """What probabilities (B, classes) stand for, down to the least that float32 holds and up to a constant."""
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return (logits - logits.mean(axis=1, keepdims=True)).astype(np.float32)
