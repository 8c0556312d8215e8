"""The images that a network is calibrated on: a user's, or the photographs that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy import photographs
from evim_deploy.errors import BadInput
from evim_deploy.preprocessing import Pixels, Preprocessing, normalise, open_image, resize_and_crop
from evim_deploy.quantise.quantisation import Calibration

RECOMMENDED = 128
"""Images of a calibration: with fewer, values that are rare are not seen."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SHIPPED = "the photographs that ship with evim-deploy"


@dataclass
class CalibrationImages:
    """Images as an artifact takes them, one at a time: any number of them is streamed.

    Attributes:
        source: A folder of images, which may have folders in it, or one image; None for the shipped photographs.
        height: Of the images that the network takes, pixels.
        width: Likewise.
        preprocessing: How the network is evaluated.
        preprocess: Whether it takes RGB pixels 0-255 rather than normalised ones.
    """

    source: Path | None
    height: int
    width: int
    preprocessing: Preprocessing
    preprocess: bool
    _skipped: dict[str, None] = field(default_factory=dict)
    _used: int = 0

    def __len__(self) -> int:
        """How many there may be; those that cannot be read are left out."""
        return len(self._paths()) if self.source else len(photographs.NAMES)

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
        return Calibration(str(self.source or SHIPPED), self._used, tuple(self._skipped))

    def _told(self) -> list[str]:
        names = list(self._skipped)
        return names[:3] + (["..."] if len(names) > 3 else [])

    def _pictures(self) -> Iterator[Pixels]:
        if self.source is None:
            yield from (photographs.load(name, self.height, self.width) for name in photographs.NAMES)
            return
        for path in self._paths():
            try:
                yield resize_and_crop(open_image(path), self.height, self.width, self.preprocessing)
            except BadInput:
                self._skipped[path.name] = None

    def _paths(self) -> list[Path]:
        assert self.source is not None
        try:
            if not self.source.is_dir():
                open_image(self.source)  # tells what is wrong with it
                return [self.source]
            found = sorted(path for path in self.source.rglob("*") if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            cause = f"{self.source} cannot be read: {error.strerror}."
            raise BadInput(cause, "Check the path of --calibration and its permissions.") from None
        if not found:
            raise BadInput(
                f"{self.source} has no images to calibrate on.", f"Put files that end in {', '.join(SUFFIXES)} there."
            )
        return found
