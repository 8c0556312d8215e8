"""From an image file to the pixels that an artifact takes, as in the evaluation of its network.

Artifacts normalise pixels themselves, so an app passes pixels 0-255.

The arithmetic of the crop is written out here and not left to torchvision: predictions need neither torchvision nor
torch, and apps in Swift and Kotlin repeat it. Tests, proofs and ``evaluate`` compare it with torchvision and timm.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.images.samples import UnknownRange, sample_format, to_rgb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Interpolation(StrEnum):
    """The filter of a resize, by Pillow's name in lower case."""

    NEAREST = "nearest"
    BOX = "box"
    BILINEAR = "bilinear"
    HAMMING = "hamming"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class CropMode(StrEnum):
    """The way from an image to the network's shape, by timm's name: see :class:`Preprocessing`."""

    CENTER = "center"
    SQUASH = "squash"
    BORDER = "border"


MAX_CROP_FRACTION = 4.0

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of the files in a folder that are read as images."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The preprocessing of images in a network's evaluation.

    The image is resized to the network's size / crop fraction, and the centre is cropped:

    ==========  =================================================================================================
    ``center``  the aspect ratio is kept, and the resized image covers this size
    ``squash``  each side is resized by itself: the aspect ratio is lost
    ``border``  the aspect ratio is kept, the resized image lies within this size, and the border has the mean's colour
    ==========  =================================================================================================

    Attributes:
        mean: Mean of RGB in units of 255, which is subtracted.
        std: Standard deviation of RGB in units of 255, the divisor.
        crop_fraction: Share of the resized image's sides that is cropped; above 1 a border is added.
        interpolation: Filter of the resize, an :class:`Interpolation`.
        assumed: Whether these are default values, since neither the network's file nor the user states them.
        crop_mode: A :class:`CropMode`.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_fraction: float
    interpolation: str
    assumed: bool = False
    crop_mode: str = CropMode.CENTER

    @property
    def keeps_pixels(self) -> bool:
        """Whether the network takes RGB pixels 0-255 without normalisation."""
        return (self.mean, self.std) == (_NO_MEAN, _UNIT_STD)


PAPER = Preprocessing(mean=MEAN, std=STD, crop_fraction=0.875, interpolation=Interpolation.BICUBIC)
"""The preprocessing of EfficientViM in the paper's evaluation."""

_MIN_STD = 1 / 510  # half a level of 255; a network that takes pixels 0-255 has 1 / 255

_NO_MEAN, _UNIT_STD = (0.0,) * 3, (1 / 255,) * 3


def without_normalisation(preprocessing: Preprocessing) -> Preprocessing:
    """The same preprocessing for a network that takes RGB pixels 0-255."""
    return replace(preprocessing, mean=_NO_MEAN, std=_UNIT_STD)


_MAX_RESIZED_PIXELS = 200_000_000  # at 4096 x 4096 the aspect ratio may be 9
_BLACK = (0, 0, 0)

Pixels = npt.NDArray[np.uint8]
Sides = tuple[int, int]
"""Height and width, pixels."""


def open_image(path: Path) -> Image.Image:
    """Read an image: its first frame, rotated by its EXIF orientation, in 8-bit RGB.

    Raises:
        BadInput: The file is missing, damaged, not an image, or does not define the range of its samples.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # a palette with alpha: it is dropped, as the published evaluations do
            warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)
            with Image.open(path) as image:
                stored = sample_format(image)
                return to_rgb(ImageOps.exif_transpose(image), stored)
    except FileNotFoundError:
        raise BadInput(f"There is no image {path}.", "Check the path.") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a directory, not an image.", "Name the image files in it.") from None
    except PermissionError:
        raise BadInput(f"{path} cannot be read: permission denied.", "Check its permissions.") from None
    except UnidentifiedImageError:
        raise BadInput(f"{path} is not an image that Pillow can read.", "Use a JPEG or PNG file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(f"{path} claims a size that no photograph has.", "Resize it first.") from None
    except UnknownRange as error:
        raise BadInput(f"{path} {error}.", "Save it with 8 bits per channel, scaled so that white is 255.") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        RuntimeError,
        struct.error,
    ) as error:  # Pillow's
        if isinstance(error, OSError) and error.errno:  # Pillow's own errors have no number
            raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
        raise BadInput(f"{path} is damaged: {error}.", "Replace it by an intact copy.") from None


@dataclass(frozen=True)
class Placement:
    """The position of a resized image on the network's input.

    Attributes:
        resized: Height and width of the whole image after resizing, pixels.
        top: Rows of the resized image above the input; negative where the input has a border there.
        left: Columns of the resized image to the left of the input; negative likewise.
    """

    resized: Sides
    top: int
    left: int


def place(image: Sides, size: Sides, preprocessing: Preprocessing = PAPER) -> Placement:
    """The placement of an image on the network's input, rounded as torchvision and timm round.

    Args:
        image: Height and width of the image, pixels.
        size: Height and width of the input, pixels.
        preprocessing: Preprocessing of the network's evaluation.

    Raises:
        BadInput: The image is so narrow that the resized one would fill the memory or have no pixels.
    """
    # timm.data.transforms_factory.transforms_imagenet_eval: 292 for 256
    whole = _pair(floor(side / preprocessing.crop_fraction) for side in size)
    resized = _RESIZED[CropMode(preprocessing.crop_mode)](image, whole)
    if min(resized) < 1 or resized[0] * resized[1] > _MAX_RESIZED_PIXELS:
        raise BadInput(f"An image of {image[1]}x{image[0]} is too narrow a strip.", "Crop it first.")
    top, left = (_offset(*sides) for sides in zip(resized, size, strict=True))
    return Placement(resized, top, left)


def _center(image: Sides, whole: Sides) -> Sides:
    if whole[0] != whole[1]:  # timm's ResizeKeepRatio
        return _scaled(image, min(side / target for side, target in zip(image, whole, strict=True)))
    return _pair(whole[0] * side // min(image) for side in image)  # torchvision's Resize, which rounds down


def _squash(image: Sides, whole: Sides) -> Sides:
    return whole


def _border(image: Sides, whole: Sides) -> Sides:
    return _scaled(image, max(side / target for side, target in zip(image, whole, strict=True)))


_RESIZED = {CropMode.CENTER: _center, CropMode.SQUASH: _squash, CropMode.BORDER: _border}


def _scaled(image: Sides, ratio: float) -> Sides:
    return _pair(round(side / ratio) for side in image)


def _offset(resized: int, side: int) -> int:
    """The offset of torchvision's CenterCrop and timm's CenterCropOrPad: halves round to even, in a border upwards."""
    return round((resized - side) / 2) if resized >= side else -((side - resized) // 2)


def _pair(sides: Iterable[int]) -> Sides:
    height, width = sides
    return height, width


def resize_and_crop(image: Image.Image, height: int, width: int, preprocessing: Preprocessing = PAPER) -> Pixels:
    """The network's input for an image, (height, width, 3) uint8 RGB.

    Every pixel equals that of torchvision's ``Resize`` and ``CenterCrop``, and of timm's ``create_transform``.

    Args:
        image: An RGB image.
        height: Height of the network's input, pixels.
        width: Width of the network's input, pixels.
        preprocessing: Preprocessing of the network's evaluation.

    Raises:
        BadInput: The image is too narrow, see :func:`place`.
    """
    from PIL import Image

    placed = place((image.height, image.width), (height, width), preprocessing)
    resized = image.resize(placed.resized[::-1], Image.Resampling[preprocessing.interpolation.upper()])
    is_border = preprocessing.crop_mode == CropMode.BORDER
    canvas = Image.new("RGB", (width, height), border_colour(preprocessing) if is_border else _BLACK)
    canvas.paste(resized, (-placed.left, -placed.top))
    return np.asarray(canvas, dtype=np.uint8)


def border_colour(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The mean in RGB, 0-255."""
    red, green, blue = (round(255 * value) for value in preprocessing.mean)
    return red, green, blue


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse an invalid mean or standard deviation of RGB in units of 255: a proof cannot detect it.

    Raises:
        UsageProblem: The values are in pixels 0-255, out of range, or not above 0; the message has the correct ones.
    """
    options = f"--mean {_listed(mean)} --std {_listed(std)}"
    if max(*mean, *std) > 1:
        # beside a mean in pixels a deviation of 1 is in pixels, too: nothing was divided
        is_undivided = max(mean) > 1 and set(std) == {1}
        divided = [value / 255 if value > 1 else value for value in mean]
        deviations = [value / 255 if value > 1 or is_undivided else value for value in std]
        raise UsageProblem(
            f"{options} is in pixels 0-255, and has to be in units of 255.",
            f"Divide by 255: --mean {_listed(divided)} --std {_listed(deviations)}.",
        )
    if min(mean) < 0:
        raise UsageProblem(f"The mean {_listed(mean)} is negative.", "Give the mean of RGB in units of 255, 0 to 1.")
    if min(std) <= 0:
        raise UsageProblem(f"Invalid standard deviation {_listed(std)}.", "Give three numbers above 0.")
    if min(std) < _MIN_STD:
        raise UsageProblem(
            f"The standard deviation {_listed(std)} is less than half a level of 255: it was divided by 255 twice.",
            f"Give it in units of 255: --std {_listed([255 * value for value in std])}; "
            f"of a network that takes pixels 0-255, --mean 0,0,0 --std {_listed([1 / 255] * 3)}.",
        )


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)


Floats = TypeVar("Floats", np.float32, np.float64)


def normalise(pixels: npt.NDArray[Floats], preprocessing: Preprocessing = PAPER) -> npt.NDArray[Floats]:
    """The normalised input (x / 255 - mean) / std from RGB pixels 0-255 (B, 3, H, W), in their dtype."""
    if preprocessing.keeps_pixels:
        return pixels
    mean, std = (
        np.array(values, dtype=pixels.dtype).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    return np.asarray((pixels / 255 - mean) / std, dtype=pixels.dtype)


def denormalise(images: npt.NDArray[Floats], preprocessing: Preprocessing = PAPER) -> npt.NDArray[Floats]:
    """RGB pixels 0-255 (B, 3, H, W) from a normalised input, in its dtype: the inverse of :func:`normalise`."""
    mean, std = (
        np.array(values, dtype=images.dtype).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    return (images * std + mean) * 255
