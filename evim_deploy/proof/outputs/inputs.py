"""The images of a comparison: photographs, and images that are hard on arithmetic.

Black, white and saturated colours are the ends of the input's range and give constant feature maps; with tiny contrast
a norm divides by nearly zero. Noise is seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import BadInput
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import IMAGE_SUFFIXES, PAPER, Preprocessing, open_image, resize_and_crop

Array = npt.NDArray[np.float32]
Images = Mapping[str, Array]
"""RGB pixels 0-255, (3, H, W) each, by name."""

_LARGE_PIXELS = 1024 * 1024  # from here on three images detect as much as twelve, in a quarter of the time
_COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
}
_GREY, _TINY_CONTRAST = 128, 1 / 64  # four levels of the 256


def standard_images(height: int, width: int) -> Images:
    """The standard images of a height and width: twelve, or a photograph, noise and white for a large size."""
    first, *others = photographs.NAMES
    photograph = _planes(photographs.load(first, height, width))
    noise, white = _noise(0, height, width), _colour("white", height, width)
    if height * width >= _LARGE_PIXELS:
        return {first: photograph, "noise 0": noise, "white": white}
    return {
        first: photograph,
        **{name: _planes(photographs.load(name, height, width)) for name in others},
        "noise 0": noise,
        "noise 1": _noise(1, height, width),
        **{name: _colour(name, height, width) for name in _COLOURS},
        "tiny contrast": (_GREY + (photograph - _GREY) * np.float32(_TINY_CONTRAST)).round(),
    }


def images_in(folder: Path, height: int, width: int, preprocessing: Preprocessing = PAPER) -> Images:
    """The images of a folder, resized and cropped as for evaluation.

    Raises:
        BadInput: The folder is missing or has no images, or an image is damaged.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        cause = f"{folder} cannot be read as a directory: {error.strerror}."
        raise BadInput(cause, "Name a directory of images with --inputs.") from None
    if not paths:
        raise BadInput(f"{folder} has no images.", f"Put files that end in one of {', '.join(IMAGE_SUFFIXES)} there.")
    return {path.name: _planes(resize_and_crop(open_image(path), height, width, preprocessing)) for path in paths}


def _noise(seed: int, height: int, width: int) -> Array:
    return _planes(np.random.RandomState(seed).randint(0, 256, (height, width, 3)))


def _colour(name: str, height: int, width: int) -> Array:
    pixel = np.array(_COLOURS[name], dtype=np.float32).reshape(3, 1, 1)
    return np.broadcast_to(pixel, (3, height, width)).copy()


def _planes(pixels: npt.NDArray[np.generic]) -> Array:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)  # (3, H, W)
