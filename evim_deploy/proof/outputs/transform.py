"""Compare the crop and normalisation of a manifest with the published evaluation's own transform.

An artifact's input is cropped already, so the comparisons of its outputs cannot detect a wrong crop. Here a photograph
in several shapes is passed through both :mod:`evim_deploy.images.preprocessing` and timm's or torchvision's transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise, resize_and_crop

if TYPE_CHECKING:
    from evim_deploy.networks.protocols import Reference

_SHAPES = ((172, 256), (256, 191), (223, 256))
"""Heights and widths: at nine of ten usual sizes, rounding up a truncated long side of one of them would show."""

_LEVELS = 0.01  # of 255; float32 normalisation is exact to 1e-4


def transform_fault(reference: Reference, size: tuple[int, int]) -> str:
    """The difference between the two at a size (height, width); empty if they agree.

    Raises:
        NotInstalled: The library with the published transform is missing.
    """
    from PIL import Image

    published, preprocessing = reference.transform(*size), reference.preprocessing
    for height, width in _SHAPES:
        image = Image.fromarray(photographs.load(photographs.NAMES[0])[:height, :width])
        cropped = (
            resize_and_crop(image, *size, preprocessing).transpose(2, 0, 1)[None].astype(np.float32)
        )  # (1, 3, H, W)
        difference = np.abs(normalise(cropped, preprocessing)[0] - published(image))
        levels = float((difference * 255 * np.array(preprocessing.std, np.float32).reshape(3, 1, 1)).max())
        if not levels < _LEVELS:
            return (
                f"the preprocessing of an image of {width}x{height} differs from the published transform by up to "
                f"{levels:.3g} of 255"
            )
    return ""
