"""The transform of a published evaluation, by torchvision: what the reference looks at.

It shares no arithmetic with :mod:`evim_deploy.images.preprocessing`, which is what artifacts look at, so a fault
there shows where the two are compared.
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
"""From an RGB image of any size to what the network takes, normalised (3, H, W)."""


def published_transform(preprocessing: Preprocessing, height: int, width: int) -> Transform:
    """torchvision's Resize, CenterCrop, ToTensor and Normalize, as the paper's code has them.

    Args:
        preprocessing: How the network is evaluated; its crop mode is ``center``.
        height: Of the network's images, pixels.
        width: Likewise.

    Raises:
        NotInstalled: torchvision is missing, or does not fit the torch that is installed.
    """
    try:
        from torchvision import transforms
        from torchvision.transforms import functional
    except (ImportError, RuntimeError, OSError) as error:  # as it fails beside another torch than its own
        raise NotInstalled(f"torchvision cannot be imported: {error}.", 'pip install "evim-deploy[torch]"') from None

    whole_height, whole_width = (floor(side / preprocessing.crop_fraction) for side in (height, width))
    interpolation = functional.InterpolationMode(preprocessing.interpolation)

    def covering(image: Image.Image) -> Image.Image:
        """Resize an image so that it covers a size that is not square, for which the paper has no rule: timm's."""
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
