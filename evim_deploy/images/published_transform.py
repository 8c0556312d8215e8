"""The transform of a published evaluation, by torchvision: the reference's input.

It shares no arithmetic with :mod:`evim_deploy.images.preprocessing`, the artifacts' input, so comparing the two reveals
an error in either.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import NotInstalled
from evim_deploy.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL import Image

Transform = Callable[["Image.Image"], npt.NDArray[np.float32]]
"""From an RGB image of any size to the network's normalised input (3, H, W)."""


def published_transform(preprocessing: Preprocessing, height: int, width: int) -> Transform:
    """torchvision's Resize, CenterCrop, ToTensor and Normalize, as in the paper's code.

    Args:
        preprocessing: Preprocessing of the network's evaluation, with the crop mode ``center``.
        height: Height of the network's input, pixels.
        width: Width of the network's input, pixels.

    Raises:
        NotInstalled: torchvision is missing, or does not fit the installed torch.
    """
    try:
        from torchvision import transforms
        from torchvision.transforms import functional
    except (ImportError, RuntimeError, OSError) as error:  # torchvision fails so with another torch than its own
        raise NotInstalled(f"torchvision cannot be imported: {error}.", 'pip install "evim-deploy[torch]"') from None

    whole_height, whole_width = (floor(side / preprocessing.crop_fraction) for side in (height, width))
    interpolation = functional.InterpolationMode(preprocessing.interpolation)

    def covering(image: Image.Image) -> Image.Image:
        """Resize an image so that it covers a size that is not square: timm's rule, since the paper has none."""
        ratio = min(image.height / whole_height, image.width / whole_width)
        size = [round(image.height / ratio), round(image.width / ratio)]
        return functional.resize(image, size, interpolation)

    is_square = whole_height == whole_width
    transform = transforms.Compose(
        [
            transforms.Resize(whole_height, interpolation) if is_square else covering,
            transforms.CenterCrop((height, width)),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    return lambda image: transform(image).numpy()
