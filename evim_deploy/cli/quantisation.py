"""Description of an artifact's quantisation, which several commands print."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evim_deploy.artifact.quantisation import Quantisation

_SHOWN = 3
"""Number of the most sensitive layers that are shown; the manifest has all."""


def quantisation_lines(format_: str, precision: str, quantisation: Quantisation) -> Iterator[str]:
    """The precision, the calibration images, the most sensitive layers, and the layers in floating point."""
    from evim_deploy.quantise.schemes import SCHEMES

    yield f"{precision}: {SCHEMES[format_, precision].description}"
    if quantisation.calibration:
        yield f"calibrated on {quantisation.calibration.images} images: {quantisation.calibration.source}"
    ratios = [f"{name} {snr:.0f} dB" for name, snr in quantisation.sensitivity if isfinite(snr)]
    yield f"most sensitive layers, signal to noise with each quantised alone: {', '.join(ratios[:_SHOWN]) or 'none'}"
    if quantisation.allowed_loss is not None:
        yield (
            f"{len(quantisation.float_layers)} of {len(quantisation.sensitivity)} layers kept in floating point "
            f"({', '.join(quantisation.float_layers) or 'none'}): {quantisation.loss:.2f} % of the predictions on "
            f"calibration images change, and {quantisation.allowed_loss:g} % are allowed"
        )
