"""From a photograph to the pixels that an artifact takes, as its network is evaluated.

Resize the short side to input / crop fraction, centre crop, RGB. The normalisation is inside the artifacts, so what
an app has to give is pixels 0-255.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from evim_deploy.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What a file ends in that is taken for an image where a folder of them is named."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network is evaluated.

    Attributes:
        mean: Of RGB in units of 255, which is subtracted.
        std: By which that is divided.
        crop_fraction: Of the resized image's sides, the share that is cut out.
        interpolation: Of the resizing, one of :data:`INTERPOLATIONS`.
        assumed: Whether nobody said so: a network's file does not.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_fraction: float
    interpolation: str
    assumed: bool = False

    @property
    def keeps_pixels(self) -> bool:
        """Whether the network takes RGB pixels 0-255 as they are."""
        return (self.mean, self.std) == (_NO_MEAN, _UNIT_STD)


PAPER = Preprocessing(MEAN, STD, 0.875, "bicubic")
"""EfficientViM's, as the paper evaluates it."""

_NO_MEAN, _UNIT_STD = (0.0,) * 3, (1 / 255,) * 3


def of_pixels(how: Preprocessing) -> Preprocessing:
    """That of a network which takes RGB pixels 0-255 as they are, and is evaluated like another."""
    return replace(how, mean=_NO_MEAN, std=_UNIT_STD)

_SIXTEEN_TO_EIGHT_BITS = 257  # 65535 / 255
_MAX_RESIZED_PIXELS = 200_000_000  # at 4096 x 4096 a picture may be nine times as long as it is wide

Pixels = npt.NDArray[np.uint8]


def open_image(path: Path) -> Image.Image:
    """A picture from disk, upright and in RGB.

    Raises:
        BadInput: The file is missing, no picture, or damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):  # 16 bits, which a conversion to 8 would clip
                    upright = Image.fromarray((np.asarray(upright) // _SIXTEEN_TO_EIGHT_BITS).astype(np.uint8))
                return upright.convert("RGB")
    except FileNotFoundError:
        raise BadInput(f"There is no image {path}.", "Check the path.") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a directory, not an image.", "Name the image files in it.") from None
    except UnidentifiedImageError:
        raise BadInput(f"{path} is not an image that Pillow can read.", "Use a JPEG or PNG file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(f"{path} claims a size that no photograph has.", "Resize it first.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadInput(f"{path} is damaged: {error}.", "Replace it by an intact copy.") from None


def resize_and_crop(image: Image.Image, height: int, width: int, preprocessing: Preprocessing = PAPER) -> Pixels:
    """The centre of an image as the network sees it, (height, width, 3) uint8.

    The image is scaled so that it covers (height, width) / crop fraction, then the centre is cut out.

    Raises:
        BadInput: The image is so narrow a strip that scaling it would fill the memory.
    """
    from PIL import Image

    # rounded down, as timm evaluates: 292 for 256
    whole = [floor(side / preprocessing.crop_fraction) for side in (height, width)]
    scale = max(whole[0] / image.height, whole[1] / image.width)
    resized_width = max(width, round(image.width * scale))
    resized_height = max(height, round(image.height * scale))
    if resized_width * resized_height > _MAX_RESIZED_PIXELS:
        raise BadInput(f"An image of {image.width}x{image.height} is too narrow a strip.", "Crop it first.")
    resized = image.resize((resized_width, resized_height), Image.Resampling[preprocessing.interpolation.upper()])
    left, top = round((resized_width - width) / 2), round((resized_height - height) / 2)
    return np.asarray(resized.crop((left, top, left + width, top + height)), dtype=np.uint8)


Floats = TypeVar("Floats", np.float32, np.float64)


def normalise(pixels: npt.NDArray[Floats], preprocessing: Preprocessing = PAPER) -> npt.NDArray[Floats]:
    """What the network itself takes, (x / 255 - mean) / std, from RGB pixels 0-255 (B, 3, H, W), in their dtype."""
    if preprocessing.keeps_pixels:
        return pixels
    mean, std = (
        np.array(values, dtype=pixels.dtype).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    return (pixels / 255 - mean) / std
