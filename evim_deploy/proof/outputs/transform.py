"""The crop and normalisation that a manifest describes, beside the published evaluation's own transform.

An artifact takes what is cropped already, so the comparisons of its outputs cannot see a wrong crop. Here a photograph
in several shapes goes through both: the arithmetic of :mod:`evim_deploy.images.preprocessing`, and timm's or
torchvision's transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise, resize_and_crop

if TYPE_CHECKING:
    from evim_deploy.networks.protocols import Reference

_SHAPES = ((172, 256), (256, 191), (223, 256))
"""Heights and widths: at nine of ten usual sizes one of their long sides would be rounded up where it is cut off."""

_LEVELS = 0.01  # of 255; float32 normalises to within 1e-4 of one


def transform_fault(reference: Reference, size: tuple[int, int]) -> str:
    """How they differ at a height and width; empty where they do not.

    Raises:
        NotInstalled: The library that has the published transform is missing.
    """
    from PIL import Image

    published, how = reference.transform(*size), reference.preprocessing
    for height, width in _SHAPES:
        image = Image.fromarray(photographs.load(photographs.NAMES[0])[:height, :width])
        cropped = resize_and_crop(image, *size, how).transpose(2, 0, 1)[None].astype(np.float32)  # (1, 3, H, W)
        difference = np.abs(normalise(cropped, how)[0] - published(image))
        levels = float((difference * 255 * np.array(how.std, np.float32).reshape(3, 1, 1)).max())
        if not levels < _LEVELS:
            return (
                f"an image of {width}x{height} is cropped and normalised otherwise than by the published transform, "
                f"by up to {levels:.3g} of 255"
            )
    return ""
