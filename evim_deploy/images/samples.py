"""Conversion of samples of any depth to 8-bit RGB, scaled by the range that the file states.

Pillow converts to 8 bits by clipping, or by keeping the upper byte of 16 bits: a float image of 0 to 1, or 12 bits
stored in 16, becomes black. This module scales such samples, or refuses them if nothing states their range. Colours are
those of ``Image.convert("RGB")``, which torchvision's and timm's data sets use: alpha is dropped, profiles are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAXIMA = 258, 262, (341, 281)  # TIFF: SMaxSampleValue, MaxSampleValue
_WHITE_IS_ZERO = 0
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}  # alpha multiplied in, which Pillow does not convert to RGB at once
_BYTE = 255
_DEEP, _DEEP_WHITE = 16, 65535
_GREY = "IF"  # first letters of the modes that hold one channel of more than 8 bits
_AMBIGUOUS_BITS = 14  # cameras and sensors store 10, 12 or 14 bits in 16


class UnknownRange(Exception):
    """The range of the samples is not stated, or they leave it; the message continues 'The image ...'."""


@dataclass(frozen=True)
class SampleFormat:
    """The storage of samples in a file, which Pillow does not keep after decoding.

    Attributes:
        bits: Bits of one sample; 8 if Pillow itself scales to 8 bits.
        maximum: The value of white that the file states; None if it states none.
        is_signed: Whether integers may be negative.
        is_inverted: Whether 0 is white and Pillow does not invert the samples.
    """

    bits: int
    maximum: float | None
    is_signed: bool
    is_inverted: bool


def sample_format(image: Image.Image) -> SampleFormat:
    """The sample format of an image that is open and not decoded yet."""
    tags: Any = getattr(image, "tag_v2", {})
    tiles = getattr(image, "tile", ())
    arguments = [argument for tile in tiles for argument in _as_tuple(tile[3])]
    raw_modes = [argument for argument in arguments if isinstance(argument, str)]
    # the maximum of a PGM or PPM, by which Pillow scales
    netpbm = next((tile[3][1] for tile in tiles if tile[0].startswith("ppm")), _BYTE)
    is_deep = (
        image.mode.startswith("I;")
        or any(f";{_DEEP}" in mode for mode in raw_modes)
        or netpbm == _DEEP_WHITE
        or (netpbm > _BYTE and image.mode == "I")
    )
    shallow = 32 if image.mode in ("I", "F") else 8
    bits = _as_tuple(tags.get(_BITS_PER_SAMPLE, _DEEP))[0] if is_deep else shallow
    stated = [_full_scale(tags.get(tag)) for tag in _MAXIMA]
    return SampleFormat(
        bits,
        _DEEP_WHITE if _BYTE < netpbm < _DEEP_WHITE else next(filter(None, stated), None),
        is_signed=any(mode.startswith("I;") and mode.endswith("S") for mode in raw_modes),
        is_inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode[0] in _GREY,
    )


def to_rgb(image: Image.Image, stored: SampleFormat) -> Image.Image:
    """A decoded image in RGB.

    Args:
        image: A decoded image of any mode.
        stored: The :func:`sample_format` of its file.

    Raises:
        UnknownRange: The value of white is not stated, or a sample exceeds it.
        ValueError: Pillow cannot convert this mode.
    """
    if image.mode[0] in _GREY:
        return _scaled(np.asarray(image), stored)
    if stored.bits > 8:
        _check_upper_bytes(image, stored)
    return image.convert(_STRAIGHT.get(image.mode, "RGB")).convert("RGB")


def _scaled(samples: npt.NDArray[Any], stored: SampleFormat) -> Image.Image:
    """Grey samples (H, W) of integers or floats."""
    from PIL import Image

    smallest, largest = float(samples.min()), float(samples.max())  # NaN if a sample is NaN
    if not np.isfinite([smallest, largest]).all():
        raise UnknownRange("has samples that are infinite or not a number")
    white = stored.maximum or _usual_white(samples.dtype.kind == "f", stored)
    if stored.maximum is None and stored.bits == _DEEP:
        _check_depth(largest)
    if smallest < 0 or largest > white:
        raise UnknownRange(f"has samples from {smallest:g} to {largest:g}, beyond its range of 0 to {white:g}")
    grey = np.round(samples * (_BYTE / white)).astype(np.uint8)
    return Image.fromarray(_BYTE - grey if stored.is_inverted else grey).convert("RGB")


def _usual_white(is_float: bool, stored: SampleFormat) -> float:
    """The value of white if the file states none."""
    if is_float:
        return 1.0
    if stored.is_signed or stored.bits > _DEEP:
        kind = "signed" if stored.is_signed else f"{stored.bits}-bit"
        raise UnknownRange(f"has {kind} integers, and nothing states which of them is white")
    return float(2**stored.bits - 1)


def _check_upper_bytes(image: Image.Image, stored: SampleFormat) -> None:
    """Refuse 16-bit colours that may have fewer significant bits: Pillow keeps their upper bytes only."""
    if stored.maximum is not None and stored.maximum < _DEEP_WHITE:
        raise UnknownRange(f"has colours up to {stored.maximum:g} in 16 bits, of which Pillow keeps the upper 8")
    largest = max(int(np.asarray(image.getchannel(band)).max()) for band in image.getbands() if band not in "Aa")
    _check_depth(256 * largest + _BYTE)


def _check_depth(largest: float) -> None:
    if 0 < largest < 2**_AMBIGUOUS_BITS:
        bits = next(bits for bits in (10, 12, _AMBIGUOUS_BITS) if largest < 2**bits)
        raise UnknownRange(
            f"has 16-bit samples that are all below {2**bits}: it is very dark, or has {bits} bits and does not say so"
        )


def _full_scale(value: object) -> float | None:
    """A stated maximum of the form 2^n - 1; any other value is the largest sample of the image and not white."""
    try:
        maximum = float(_as_tuple(value)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return maximum if maximum in {2.0**bits - 1 for bits in range(1, 33)} else None


def _as_tuple(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
