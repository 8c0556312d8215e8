"""How a network is to be quantised: its grids, and which layers stay in floating point, found on images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.quantisation import Calibration, Quantisation
from evim_deploy.artifact.target import Target
from evim_deploy.common.progress import Progress
from evim_deploy.common.reproducible import one_thread
from evim_deploy.graph.ir import Graph
from evim_deploy.images import digits
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.protocols import Reference
from evim_deploy.quantise.apply import quantised_values
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import DIGITS, PHOTOGRAPHS, RECOMMENDED, CalibrationImages
from evim_deploy.quantise.equalisation import equalised, find_exponents
from evim_deploy.quantise.schemes import Scheme, scheme
from evim_deploy.quantise.sensitivity import FEW_IMAGES, fewest_float_layers, sensitivity


@one_thread()
def find(
    reference: Reference,
    target: Target,
    native: int,
    source: Path | None,
    allowed_loss: float | None,
    progress: Progress,
) -> Target:
    """A target with its quantisation; one of a precision that is not quantised stays as it is.

    One thread computes it: with two, the ends of ranges differ in their last bits, and so do scales in the file.

    Args:
        reference: What it is made from.
        target: The artifact.
        native: Side of the images that the network was made for, pixels.
        source: Images to calibrate on, as ``--calibration`` takes them; None for those that ship.
        allowed_loss: As ``--keep-accuracy`` takes it, percent of these images.
        progress: Who is told how it goes on.

    Raises:
        BadInput: The images will not do.
    """
    found = scheme(target.format, target.precision)
    if found is None:
        return target
    assert isinstance(reference, GraphReference), "others are refused when they are asked for"
    size = target.height or native, target.width or native

    def images(height: int, width: int) -> CalibrationImages:
        ships = DIGITS if reference.weights.source == digits.SOURCE else PHOTOGRAPHS
        return CalibrationImages(
            source=source or ships,
            height=height,
            width=width,
            preprocessing=reference.preprocessing,
            preprocess=target.preprocess,
        )

    quantisation = Quantisation()
    graph = reference.inference(target)
    if found.is_calibrated:
        seen = images(*size)
        exponents = find_exponents(graph, _told(seen, f"{target}: looking for the ranges of channels", progress))
        graph = equalised(graph, exponents)
        qparams = calibrate(graph, found, _told(seen, f"{target}: calibrating", progress), target.preprocess)
        quantisation = Quantisation(
            calibration=seen.calibration, exponents=tuple(exponents.items()), qparams=tuple(qparams.items())
        )
        _warn(seen.calibration, progress)
    # the layers are the same at any size, and tried sooner at a smaller one
    smaller = images(*min(size, (native, native), key=lambda sides: sides[0] * sides[1]))
    progress.step(f"{target}: trying each layer by itself")
    costs = sensitivity(graph, found, dict(quantisation.qparams), islice(smaller, FEW_IMAGES))
    quantisation = replace(quantisation, sensitivity=tuple(costs.items()))
    if allowed_loss is not None:
        quantisation = _keeping(quantisation, graph, found, smaller, allowed_loss, target, progress)
    return replace(target, quantisation=quantisation)


def _keeping(
    quantisation: Quantisation,
    graph: Graph,
    found: Scheme,
    images: CalibrationImages,
    allowed: float,
    target: Target,
    progress: Progress,
) -> Quantisation:
    def tried(text: str) -> None:
        progress.step(f"{target}: {text}")

    qparams = dict(quantisation.qparams)
    costs = dict(quantisation.sensitivity)
    kept, loss = fewest_float_layers(graph, found, qparams, list(costs), images, allowed, tried)
    return replace(
        quantisation,
        calibration=images.calibration,
        qparams=tuple((value, qparams[value]) for value in qparams if value in quantised_values(graph, found, kept)),
        kept=tuple(kept),
        allowed_loss=allowed,
        loss=loss,
    )


def _told(images: CalibrationImages, text: str, progress: Progress) -> Iterator[npt.NDArray[np.float32]]:
    count = len(images)
    for done, image in enumerate(images):
        progress.advance(text, done, count)
        yield image
    progress.advance(text, count, count)


def _warn(calibration: Calibration, progress: Progress) -> None:
    if calibration.skipped:
        names = ", ".join(calibration.skipped)
        progress.warn(f"{len(calibration.skipped)} files are no whole images and were skipped: {names}.")
    if calibration.images < RECOMMENDED:
        used = f"{calibration.images} images ({calibration.source})"
        progress.warn(f"Calibrated on {used}; {RECOMMENDED} like those that the app will see are recommended.")
