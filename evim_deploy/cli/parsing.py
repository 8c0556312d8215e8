"""The grammar of option values: lists, sizes, batches and normalisation."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from evim_deploy.common.errors import UsageProblem

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing


def split_list(values: list[str] | None) -> tuple[str, ...]:
    """The distinct values of a repeated option, each of which may be a list ``a,b``."""
    return tuple(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))


def parse_size(text: str) -> tuple[int, int] | None:
    """``256`` or ``384x512`` (height x width) as (height, width) in pixels; ``dynamic`` as None.

    Raises:
        UsageProblem: The text is a different one.
    """
    if text == "dynamic":
        return None
    match = re.fullmatch(r"(-?\d{1,9})(?:x(-?\d{1,9}))?", text)
    if match is None:
        raise UsageProblem(f"Invalid resolution {text!r}.", "Use N or HxW, for example 256 or 320x448, or dynamic.")
    height = int(match[1])
    return height, int(match[2] or height)


def parse_normalisation(mean: str | None, std: str | None) -> Preprocessing | None:
    """The preprocessing with a mean and a standard deviation such as ``0.485,0.456,0.406``: RGB, in units of 255.

    Returns:
        None if both are None.

    Raises:
        UsageProblem: Only one of them is set, or one is not three numbers.
    """
    from dataclasses import replace

    from evim_deploy.images.preprocessing import PAPER

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UsageProblem("--mean and --std must be given together.", "Give both, or neither.")
    values = _rgb(mean), _rgb(std)
    return replace(PAPER, mean=values[0], std=values[1])


def _rgb(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        example = ",".join([text] * 3) if len(numbers) == 1 and isfinite(numbers[0]) else "0.485,0.456,0.406"
        raise UsageProblem(f"Invalid RGB values {text!r}.", f"Give three numbers, for example {example}.")
    red, green, blue = numbers
    return red, green, blue


def parse_batch(text: str) -> int | None:
    """``16`` as an integer, ``dynamic`` as None.

    Raises:
        UsageProblem: The text is a different one.
    """
    if text == "dynamic":
        return None
    if re.fullmatch(r"-?\d{1,9}", text) is None:
        raise UsageProblem(f"Invalid batch {text!r}.", "Give a number of images, or dynamic.")
    return int(text)
