"""Lines on the quantisation of an artifact, for several commands."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evim_deploy.artifact.quantisation import Quantisation

_MOST_NAMED = 3
"""Number of costliest layers shown; the manifest has all."""


def quantisation_lines(format_: str, precision: str, quantisation: Quantisation) -> Iterator[str]:
    """The precision, its calibration, the costliest layers, and the layers in float."""
    from evim_deploy.quantise.schemes import SCHEMES

    yield f"{precision}: {SCHEMES[format_, precision].meaning}"
    if quantisation.calibration:
        yield f"calibrated on {quantisation.calibration.images} images: {quantisation.calibration.source}"
    costs = [(name, snr) for name, snr in quantisation.sensitivity if isfinite(snr)]
    worst = ", ".join(f"{name} {snr:.0f} dB" for name, snr in costs[:_MOST_NAMED])
    yield f"costliest layers, signal to noise of the outputs with that layer quantised: {worst or 'none'}"
    if quantisation.allowed_loss is not None:
        yield (
            f"{len(quantisation.kept)} of {len(quantisation.sensitivity)} layers in float "
            f"({', '.join(quantisation.kept) or 'none'}): {quantisation.loss:.2f} % of the predictions "
            f"on the calibration images change, {quantisation.allowed_loss:g} % may"
        )
