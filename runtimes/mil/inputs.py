"""The image input of a package, read from its description, and the conversion of RGB pixels to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.common.errors import BadInput, NotRunHere
from evim_deploy.formats.coreml import one_line
from runtimes import Array

if TYPE_CHECKING:
    from coremltools.proto import FeatureTypes_pb2, Model_pb2

_RGB, _BGR, _GREY = "RGB", "BGR", "grayscale"
_CHANNELS = {_RGB: 3, _BGR: 3, _GREY: 1}
_COLOUR_SPACES: Mapping[int, str] = {10: _GREY, 20: _RGB, 30: _BGR, 40: _GREY}  # 40 is in float16
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, which Pillow and Core ML use for grayscale


def _to_grey(image: Array) -> Array:
    return np.tensordot(image, np.array(_LUMA, dtype=np.float32), (1, 0))[:, None]  # (B, 1, H, W)


_CONVERSIONS: Mapping[str, Callable[[Array], Array]] = {
    _RGB: lambda image: image,
    _BGR: lambda image: image[:, ::-1],
    _GREY: _to_grey,
}

Bounds = tuple[int, int | None]
"""Shortest and longest length of an axis; None if it is not limited."""


@dataclass(frozen=True)
class ImageInput:
    """The only input of a package.

    Attributes:
        package: Name of the package, for messages.
        name: Name of the input.
        colours: ``RGB``, ``BGR`` or ``grayscale``.
        shapes: The alternative shapes (B, C, H, W) that it accepts.
    """

    package: str
    name: str
    colours: str
    shapes: tuple[tuple[Bounds, ...], ...]

    def feed(self, image: Array) -> Array:
        """Return RGB pixels (B, 3, H, W) in the colours of the input, float32.

        Raises:
            BadInput: The package does not accept an image of that shape.
        """
        if image.ndim == 4 and image.shape[1] == 3:
            image = _CONVERSIONS[self.colours](image)
        if not any(_fits(image.shape, shape) for shape in self.shapes):
            allowed = " or ".join(_format(shape) for shape in self.shapes)
            raise BadInput(
                f"{self.package} accepts images of {allowed}, not {'x'.join(map(str, image.shape))}.",
                "Use an image of that shape, or export for another one.",
            )
        return np.ascontiguousarray(image, dtype=np.float32)


def image_input(interface: Model_pb2.ModelDescription | Model_pb2.FunctionDescription, package: str) -> ImageInput:
    """Return the image input of a package.

    Args:
        interface: Description of the model or of a function.
        package: Name of the package, for messages.

    Raises:
        NotRunHere: The package has another number of inputs, another kind of input, or an unknown colour space.
    """
    names = [feature.name for feature in (*interface.input, *interface.state)]
    if len(names) != 1:
        raise NotRunHere(
            f"{package} has {len(names)} inputs ({one_line(', '.join(names))}); only a single image is supported here.",
            "Run it on a Mac.",
        )
    (feature,) = interface.input
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        if image.colorSpace not in _COLOUR_SPACES:
            cause = f"{package} has an image input of the unknown colour space {image.colorSpace}."
            raise NotRunHere(cause, "Run it on a Mac.")
        colours = _COLOUR_SPACES[image.colorSpace]
        leading = ((1, 1), (_CHANNELS[colours], _CHANNELS[colours]))
        return ImageInput(package, feature.name, colours, tuple((*leading, *size) for size in _image_sizes(image)))
    if kind == "multiArrayType":
        return ImageInput(package, feature.name, _RGB, tuple(_array_shapes(feature.type.multiArrayType)))
    raise NotRunHere(f"{package} has an input of type {kind}; only an image is supported here.", "Run it on a Mac.")


def _image_sizes(image: FeatureTypes_pb2.ImageFeatureType) -> Iterator[tuple[Bounds, ...]]:
    """Yield the alternative heights and widths of an image."""
    flexibility = image.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        for size in image.enumeratedSizes.sizes:
            yield _fixed(size.height, size.width)
    elif flexibility == "imageSizeRange":
        yield tuple(_bounds(side) for side in (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange))
    else:
        yield _fixed(image.height, image.width)


def _array_shapes(array: FeatureTypes_pb2.ArrayFeatureType) -> Iterator[tuple[Bounds, ...]]:
    """Yield the alternative shapes of an array."""
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        for choice in array.enumeratedShapes.shapes:
            yield _fixed(*choice.shape)
    elif flexibility == "shapeRange":
        yield tuple(_bounds(side) for side in array.shapeRange.sizeRanges)
    else:
        yield _fixed(*array.shape)


def _fixed(*sides: int) -> tuple[Bounds, ...]:
    return tuple((side, side) for side in sides)


def _bounds(size_range: FeatureTypes_pb2.SizeRange) -> Bounds:
    return size_range.lowerBound, None if size_range.upperBound < 0 else size_range.upperBound


def _fits(sides: tuple[int, ...], shape: tuple[Bounds, ...]) -> bool:
    return len(sides) == len(shape) and all(
        shortest <= side and (longest is None or side <= longest)
        for side, (shortest, longest) in zip(sides, shape, strict=True)
    )


def _format(shape: tuple[Bounds, ...]) -> str:
    return "x".join(
        str(shortest) if shortest == longest else f"({shortest}..{longest or ''})" for shortest, longest in shape
    )
