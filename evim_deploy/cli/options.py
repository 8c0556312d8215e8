"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.cli.console import SETTINGS
from evim_deploy.common.errors import UsageProblem

if TYPE_CHECKING:
    from evim_deploy.images.preprocessing import Preprocessing


def _quiet(wanted: bool) -> bool:
    SETTINGS.quiet = wanted
    return wanted


def _verbose(wanted: bool) -> bool:
    SETTINGS.verbose = wanted
    return wanted


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress; warnings are still shown.")]
Verbose = Annotated[bool, typer.Option("--verbose", callback=_verbose, help="Tell more, and where a fault is.")]


Lines = list[str] | None
"""Of an option that is repeated, takes several values at once, or both."""


def split_list(values: Lines) -> tuple[str, ...]:
    """The values of an option that was given as ``a,b`` or more than once, each once."""
    return tuple(dict.fromkeys(part.strip() for value in values or () for part in value.split(",") if part.strip()))


def parse_size(text: str) -> tuple[int, int] | None:
    """``256`` or ``384x512`` (height x width) as (height, width); ``dynamic`` as None.

    Raises:
        UsageProblem: It is none of them.
    """
    if text == "dynamic":
        return None
    found = re.fullmatch(r"(-?\d{1,9})(?:x(-?\d{1,9}))?", text)
    if found is None:
        raise UsageProblem(f"{text!r} is no resolution.", "Give a side (256), height x width (384x512), or dynamic.")
    height = int(found[1])
    return height, int(found[2] or height)


def parse_normalisation(mean: str | None, std: str | None) -> Preprocessing | None:
    """``0.485,0.456,0.406`` each, of RGB in units of 255; None where neither is given.

    Raises:
        UsageProblem: One of them alone, or not three numbers.
    """
    from dataclasses import replace

    from evim_deploy.images.preprocessing import PAPER

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UsageProblem("--mean and --std belong together.", "Give both.")
    values = _rgb(mean), _rgb(std)
    return replace(PAPER, mean=values[0], std=values[1])


def _rgb(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        example = ",".join([text] * 3) if len(numbers) == 1 and isfinite(numbers[0]) else "0.485,0.456,0.406"
        raise UsageProblem(f"{text!r} is not of RGB.", f"Give three numbers, as in {example}.")
    red, green, blue = numbers
    return red, green, blue


def parse_batch(text: str) -> int | None:
    """``16`` as itself, ``dynamic`` as None.

    Raises:
        UsageProblem: It is neither.
    """
    if text == "dynamic":
        return None
    if re.fullmatch(r"-?\d{1,9}", text) is None:
        raise UsageProblem(f"{text!r} is no batch.", "Give a number of images, or dynamic.")
    return int(text)
