"""From a photograph to the pixels that an artifact takes, as the paper evaluates.

Resize the short side to input / 0.875, bicubic, centre crop, RGB. The normalisation with ImageNet's
mean and standard deviation is inside the artifacts, so what this module gives is pixels 0-255.
"""

from __future__ import annotations

import warnings
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
CROP_FRACTION = 0.875

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


def resize_and_crop(image: Image.Image, height: int, width: int) -> Pixels:
    """The centre of an image as the network sees it, (height, width, 3) uint8.

    The image is scaled so that it covers (height, width) / 0.875, then the centre is cut out.

    Raises:
        BadInput: The image is so narrow a strip that scaling it would fill the memory.
    """
    from PIL import Image

    # rounded down, as timm evaluates: 292 for 256
    scale = max(floor(height / CROP_FRACTION) / image.height, floor(width / CROP_FRACTION) / image.width)
    resized_width = max(width, round(image.width * scale))
    resized_height = max(height, round(image.height * scale))
    if resized_width * resized_height > _MAX_RESIZED_PIXELS:
        raise BadInput(f"An image of {image.width}x{image.height} is too narrow a strip.", "Crop it first.")
    resized = image.resize((resized_width, resized_height), Image.Resampling.BICUBIC)
    left, top = round((resized_width - width) / 2), round((resized_height - height) / 2)
    return np.asarray(resized.crop((left, top, left + width, top + height)), dtype=np.uint8)


Floats = TypeVar("Floats", np.float32, np.float64)


def normalise(pixels: npt.NDArray[Floats]) -> npt.NDArray[Floats]:
    """What the network itself takes, (x / 255 - mean) / std, from RGB pixels 0-255 (B, 3, H, W), in their dtype."""
    mean, std = (np.array(values, dtype=pixels.dtype).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels / 255 - mean) / std
