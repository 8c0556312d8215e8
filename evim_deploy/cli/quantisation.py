"""How an artifact was quantised, as several commands tell people."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evim_deploy.artifact.quantisation import Quantisation

_TOLD = 3
"""Of the layers that cost most to quantise, how many are told; the manifest has all."""


def quantisation_lines(format_: str, precision: str, found: Quantisation) -> Iterator[str]:
    """What a precision is, what it was calibrated on, which layers cost most, and which were kept."""
    from evim_deploy.quantise.schemes import SCHEMES

    yield f"{precision}: {SCHEMES[format_, precision].meaning}"
    if found.calibration:
        yield f"calibrated on {found.calibration.images} images: {found.calibration.source}"
    costs = [(name, snr) for name, snr in found.sensitivity if isfinite(snr)]
    worst = ", ".join(f"{name} {snr:.0f} dB" for name, snr in costs[:_TOLD])
    yield f"costliest layers, signal to noise of each alone: {worst or 'none'}"
    if found.allowed_loss is not None:
        yield (
            f"{len(found.kept)} of {len(found.sensitivity)} layers kept in floating point "
            f"({', '.join(found.kept) or 'none'}): {found.loss:.2f} % of the calibration images are answered "
            f"otherwise, and {found.allowed_loss:g} % may be"
        )
