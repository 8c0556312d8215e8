"""Calibration images: a user's, or the photographs and digits that ship with the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.quantisation import Calibration
from evim_deploy.common.errors import BadInput
from evim_deploy.images import digits, photographs
from evim_deploy.images.preprocessing import (
    IMAGE_SUFFIXES,
    Pixels,
    Preprocessing,
    normalise,
    open_image,
    resize_and_crop,
)

RECOMMENDED = 128
"""Recommended number of images: fewer miss rare values."""


def _photographs(height: int, width: int) -> Iterator[Pixels]:
    return (photographs.load(name, height, width) for name in photographs.NAMES)


def _digits(height: int, width: int) -> Iterator[Pixels]:
    """The recommended number, evenly from the images that digits was trained on."""
    from PIL import Image

    pictures, _ = digits.training()
    some = pictures[:: len(pictures) // RECOMMENDED][:RECOMMENDED]
    return (resize_and_crop(Image.fromarray(picture), height, width) for picture in some)


@dataclass(frozen=True)
class ShippedImages:
    """Images that ship with the package.

    Attributes:
        description: A few words for people.
        count: Number of images.
        load: Yields them for a height and a width in pixels, (H, W, 3) uint8 RGB each.
    """

    description: str
    count: int
    load: Callable[[int, int], Iterator[Pixels]]


PHOTOGRAPHS = ShippedImages("the photographs that ship with evim-deploy", len(photographs.NAMES), _photographs)
DIGITS = ShippedImages("digits that ship with evim-deploy, of those that it was trained on", RECOMMENDED, _digits)


@dataclass(kw_only=True)
class CalibrationImages:
    """Inputs of an artifact, streamed one image at a time.

    Attributes:
        source: A folder of images, with its subfolders, or one image; or images that ship.
        height: Height of the network's input, pixels.
        width: Width of it, pixels.
        preprocessing: The preprocessing of the network's evaluation.
        preprocess: Whether the artifact has RGB pixels 0-255 as inputs rather than normalised ones.
    """

    source: Path | ShippedImages
    height: int
    width: int
    preprocessing: Preprocessing
    preprocess: bool
    _skipped: dict[str, None] = field(default_factory=dict)
    _used: int = 0

    def __len__(self) -> int:
        """Number of images, including files that turn out to be unreadable."""
        return self.source.count if isinstance(self.source, ShippedImages) else len(_paths(self.source))

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each image, (1, 3, H, W) float32.

        Raises:
            BadInput: There is no image, none is readable, or each is of a single colour.
        """
        self._used, self._skipped = 0, {}
        is_flat = True
        for pixels in self._pictures():
            self._used += 1
            is_flat = is_flat and pixels.min() == pixels.max()
            image = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None]  # (1, 3, H, W)
            yield image if self.preprocess else normalise(image, self.preprocessing)
        if not self._used:
            names = [*list(self._skipped)[:3], *(["..."] if len(self._skipped) > 3 else [])]
            raise BadInput(
                f"None of the {len(self._skipped)} images in {self.source} can be read: {', '.join(names)}.",
                "Use images that are not damaged.",
            )
        if is_flat:
            raise BadInput(
                f"Each of the {self._used} images in {self.source} is of one colour: their values have no range.",
                "Use pictures like those that the app will see.",
            )

    @property
    def calibration(self) -> Calibration:
        """The images that were used; complete after an iteration."""
        source = self.source.description if isinstance(self.source, ShippedImages) else self.source.absolute().name
        return Calibration(source, self._used, tuple(self._skipped))

    def _pictures(self) -> Iterator[Pixels]:
        if isinstance(self.source, ShippedImages):
            yield from self.source.load(self.height, self.width)
            return
        for path in _paths(self.source):
            try:
                yield resize_and_crop(open_image(path), self.height, self.width, self.preprocessing)
            except BadInput:
                self._skipped[path.name] = None


def _paths(source: Path) -> list[Path]:
    try:
        if not source.is_dir():
            open_image(source)  # raises an error that says what is wrong with it
            return [source]
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        cause = f"{source} cannot be read: {error.strerror}."
        raise BadInput(cause, "Check the path of --calibration and its permissions.") from None
    if not paths:
        raise BadInput(
            f"{source} has no images to calibrate on.", f"Put files that end in {', '.join(IMAGE_SUFFIXES)} there."
        )
    return paths
