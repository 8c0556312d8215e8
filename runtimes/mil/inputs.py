"""What image a package takes, as its description says, and how RGB pixels are fed to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evim_deploy.common.errors import BadInput, NotRunHere
from evim_deploy.formats.coreml import one_line
from runtimes import Array

_RGB, _BGR, _GREY = "RGB", "BGR", "grayscale"
_CHANNELS = {_RGB: 3, _BGR: 3, _GREY: 1}
_COLOR_SPACES: Mapping[int, str] = {10: _GREY, 20: _RGB, 30: _BGR, 40: _GREY}  # 40 is in float16
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, which Pillow's and Core ML's grayscale is


def _grey(image: Array) -> Array:
    return np.tensordot(image, np.array(_LUMA, dtype=np.float32), (1, 0))[:, None]  # (B, 1, H, W)


_RECOLORED: Mapping[str, Callable[[Array], Array]] = {
    _RGB: lambda image: image,
    _BGR: lambda image: image[:, ::-1],
    _GREY: _grey,
}

Bounds = tuple[int, int | None]
"""Least and greatest length of an axis; None for no greatest."""


@dataclass(frozen=True)
class ImageInput:
    """The one input of a package.

    Attributes:
        package: Whose it is, for messages.
        name: Its name.
        colors: ``RGB``, ``BGR`` or ``grayscale``.
        shapes: What it may be fed, (B, C, H, W); each is a choice.
    """

    package: str
    name: str
    colors: str
    shapes: tuple[tuple[Bounds, ...], ...]

    def feed(self, image: Array) -> Array:
        """RGB pixels (B, 3, H, W) as the package takes them.

        Raises:
            BadInput: The package takes no image of that shape.
        """
        fed = image
        if image.ndim == 4 and image.shape[1] == 3:
            fed = _RECOLORED[self.colors](image)
        if not any(_fits(fed.shape, shape) for shape in self.shapes):
            allowed = " or ".join(_written(shape) for shape in self.shapes)
            raise BadInput(
                f"{self.package} takes images of {allowed}, not {'x'.join(map(str, fed.shape))}.",
                "Give it an image of that shape, or export for another one.",
            )
        return np.ascontiguousarray(fed, dtype=np.float32)


def image_input(interface: Any, package: str) -> ImageInput:
    """The input of a package, from its description or a function's.

    Raises:
        NotRunHere: It takes something else than one image, or one of colors that are not known.
    """
    names = [feature.name for feature in (*interface.input, *interface.state)]
    if len(names) != 1:
        raise NotRunHere(
            f"{package} takes {len(names)} inputs ({one_line(', '.join(names))}), and here it can be given one image.",
            "Run it on a Mac.",
        )
    (feature,) = interface.input
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        if image.colorSpace not in _COLOR_SPACES:
            cause = f"{package} takes an image of color space {image.colorSpace}, which is not known here."
            raise NotRunHere(cause, "Run it on a Mac.")
        colors = _COLOR_SPACES[image.colorSpace]
        sides = ((1, 1), (_CHANNELS[colors], _CHANNELS[colors]))
        return ImageInput(package, feature.name, colors, tuple((*sides, *size) for size in _sizes(image)))
    if kind == "multiArrayType":
        return ImageInput(package, feature.name, _RGB, tuple(_shapes(feature.type.multiArrayType)))
    raise NotRunHere(f"{package} takes a {kind}, and here it can be given an image.", "Run it on a Mac.")


def _sizes(image: Any) -> Iterator[tuple[Bounds, ...]]:
    """Heights and widths of an ``ImageFeatureType``."""
    flexibility = image.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        for size in image.enumeratedSizes.sizes:
            yield _exactly(size.height, size.width)
    elif flexibility == "imageSizeRange":
        yield tuple(_between(each) for each in (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange))
    else:
        yield _exactly(image.height, image.width)


def _shapes(array: Any) -> Iterator[tuple[Bounds, ...]]:
    """Shapes of an ``ArrayFeatureType``."""
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        for choice in array.enumeratedShapes.shapes:
            yield _exactly(*choice.shape)
    elif flexibility == "shapeRange":
        yield tuple(_between(each) for each in array.shapeRange.sizeRanges)
    else:
        yield _exactly(*array.shape)


def _exactly(*sides: int) -> tuple[Bounds, ...]:
    return tuple((side, side) for side in sides)


def _between(bounds: Any) -> Bounds:
    return bounds.lowerBound, None if bounds.upperBound < 0 else bounds.upperBound


def _fits(sides: tuple[int, ...], shape: tuple[Bounds, ...]) -> bool:
    return len(sides) == len(shape) and all(
        least <= side and (most is None or side <= most) for side, (least, most) in zip(sides, shape, strict=True)
    )


def _written(shape: tuple[Bounds, ...]) -> str:
    return "x".join(str(least) if least == most else f"({least}..{most or ''})" for least, most in shape)
