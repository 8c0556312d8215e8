"""How a network is to be quantised: its grids, and which layers stay in floating point, found on images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evim_deploy.artifact import Target
from evim_deploy.progress import Progress
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.images import RECOMMENDED, CalibrationImages
from evim_deploy.quantise.quantisation import Quantisation
from evim_deploy.quantise.schemes import scheme
from evim_deploy.reference import GraphReference, Reference


def find(
    reference: Reference,
    target: Target,
    native: int,
    source: Path | None,
    progress: Progress,
) -> Target:
    """A target with its quantisation; one of a precision that is not quantised stays as it is.

    Args:
        reference: What it is made from.
        target: The artifact.
        native: Side of images where the target's are dynamic, pixels.
        source: Images to calibrate on, as ``--calibration`` takes them.
        progress: Who is told how it goes on.

    Raises:
        BadInput: The images will not do.
    """
    found = scheme(target.format, target.precision)
    if found is None:
        return target
    assert isinstance(reference, GraphReference), "others are refused when they are asked for"
    if not found.is_calibrated:
        return replace(target, quantisation=Quantisation())
    size = target.height or native, target.width or native
    images = CalibrationImages(source, *size, reference.preprocessing, target.preprocess)
    progress.step(f"{target}: calibrating on {len(images)} images")
    grids = calibrate(reference.inference(target), found, images, target.preprocess)
    calibration = images.calibration
    if calibration.skipped:
        names = ", ".join(calibration.skipped)
        progress.warn(f"{len(calibration.skipped)} files are no whole images and were skipped: {names}.")
    if calibration.images < RECOMMENDED:
        used = f"{calibration.images} images ({calibration.source})"
        progress.warn(f"Calibrated on {used}; {RECOMMENDED} like those that the app will see are recommended.")
    return replace(target, quantisation=Quantisation(calibration, tuple(grids.items())))
