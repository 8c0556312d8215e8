"""The images that a network is calibrated on: a user's, or the photographs that ship with the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.quantisation import Calibration
from evim_deploy.common.errors import BadInput
from evim_deploy.images import digits, photographs
from evim_deploy.images.preprocessing import Pixels, Preprocessing, normalise, open_image, resize_and_crop

RECOMMENDED = 128
"""Images of a calibration: with fewer, values that are rare are not seen."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def _photographs(height: int, width: int) -> Iterator[Pixels]:
    return (photographs.load(name, height, width) for name in photographs.NAMES)


def _digits(height: int, width: int) -> Iterator[Pixels]:
    """As many as are recommended, from all of those that digits was trained on."""
    from PIL import Image

    pictures, _ = digits.training()
    some = pictures[:: len(pictures) // RECOMMENDED][:RECOMMENDED]
    return (resize_and_crop(Image.fromarray(picture), height, width) for picture in some)


@dataclass(frozen=True)
class Shipped:
    """Images that ship with the package.

    Attributes:
        words: What they are.
        count: How many.
        load: Gives them for a height and width, (H, W, 3) uint8 RGB each.
    """

    words: str
    count: int
    load: Callable[[int, int], Iterator[Pixels]]


PHOTOGRAPHS = Shipped("the photographs that ship with evim-deploy", len(photographs.NAMES), _photographs)
DIGITS = Shipped("digits that ship with evim-deploy, of those that it was trained on", RECOMMENDED, _digits)


@dataclass(kw_only=True)
class CalibrationImages:
    """Images as an artifact takes them, one at a time: any number of them is streamed.

    Attributes:
        source: A folder of images, which may have folders in it, or one image; or images that ship.
        height: Of the images that the network takes, pixels.
        width: Likewise.
        preprocessing: How the network is evaluated.
        preprocess: Whether it takes RGB pixels 0-255 rather than normalised ones.
    """

    source: Path | Shipped
    height: int
    width: int
    preprocessing: Preprocessing
    preprocess: bool
    _skipped: dict[str, None] = field(default_factory=dict)
    _used: int = 0

    def __len__(self) -> int:
        """How many there may be; those that cannot be read are left out."""
        return self.source.count if isinstance(self.source, Shipped) else len(_paths(self.source))

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        """Each (1, 3, H, W).

        Raises:
            BadInput: There is no image, none can be read, or all show one colour.
        """
        self._used, self._skipped = 0, {}
        is_flat = True
        for pixels in self._pictures():
            self._used += 1
            is_flat = is_flat and pixels.min() == pixels.max()
            image = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None]  # (1, 3, H, W)
            yield image if self.preprocess else normalise(image, self.preprocessing)
        if not self._used:
            raise BadInput(
                f"None of the {len(self._skipped)} images in {self.source} can be read: {', '.join(self._told())}.",
                "Give images that are whole.",
            )
        if is_flat:
            raise BadInput(
                f"Each of the {self._used} images in {self.source} is of one colour: their values have no range.",
                "Give pictures like those that the app will see.",
            )

    @property
    def calibration(self) -> Calibration:
        """What was used, once all was read."""
        source = self.source.words if isinstance(self.source, Shipped) else self.source.absolute().name
        return Calibration(source, self._used, tuple(self._skipped))

    def _told(self) -> list[str]:
        names = list(self._skipped)
        return names[:3] + (["..."] if len(names) > 3 else [])

    def _pictures(self) -> Iterator[Pixels]:
        if isinstance(self.source, Shipped):
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
            open_image(source)  # tells what is wrong with it
            return [source]
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        cause = f"{source} cannot be read: {error.strerror}."
        raise BadInput(cause, "Check the path of --calibration and its permissions.") from None
    if not found:
        raise BadInput(
            f"{source} has no images to calibrate on.", f"Put files that end in {', '.join(SUFFIXES)} there."
        )
    return found
