"""Quantisation of a target: calibration on images, sensitivity of its layers, and the layers in floating point."""

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
from evim_deploy.common.threads import torch_threads
from evim_deploy.graph.ir import Graph
from evim_deploy.images import digits
from evim_deploy.networks.protocols import Reference, is_lowered
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import DIGITS, PHOTOGRAPHS, RECOMMENDED, CalibrationImages
from evim_deploy.quantise.equalisation import equalisation_exponents, equalise
from evim_deploy.quantise.float_layers import choose_float_layers
from evim_deploy.quantise.placement import quantised_values
from evim_deploy.quantise.schemes import Scheme, find_scheme
from evim_deploy.quantise.sensitivity import SENSITIVITY_IMAGES, sensitivity


@torch_threads(1)
def quantise_target(
    reference: Reference,
    target: Target,
    *,
    native_size: int,
    source: Path | None,
    allowed_loss: float | None,
    progress: Progress,
) -> Target:
    """A target with its quantisation; a target whose precision is not quantised stays as it is.

    It computes with one thread: with two, the ends of ranges differ in their last bits, and so do scales in the file.

    Args:
        reference: The network that the artifact is made from.
        target: The artifact.
        native_size: Side of the images that the network was trained for, pixels.
        source: Calibration images, the value of ``--calibration``; None for the images that ship.
        allowed_loss: The value of ``--keep-accuracy``, percent of these images; None without the option.
        progress: Receives the steps.

    Raises:
        BadInput: The images are not usable, or the network overflows on them.
    """
    scheme = find_scheme(target.format, target.precision)
    if scheme is None:
        return target
    assert is_lowered(reference), "a request for other networks is rejected earlier"
    size = target.height or native_size, target.width or native_size
    quantisation = Quantisation()
    graph = reference.inference(target)
    if scheme.is_calibrated:
        images = _images(reference, target, source, size)
        quantisation, graph = _calibrate(graph, scheme, images, target=target, progress=progress)
    # the most sensitive layers are the same at any size, and a smaller one is faster
    smaller = _images(reference, target, source, min(size, (native_size, native_size), key=lambda hw: hw[0] * hw[1]))
    progress.step(f"{target}: measuring the sensitivity of each layer")
    ratios = sensitivity(graph, scheme, dict(quantisation.qparams), islice(smaller, SENSITIVITY_IMAGES))
    quantisation = replace(quantisation, sensitivity=tuple(ratios.items()))
    if allowed_loss is None:
        return replace(target, quantisation=quantisation)
    qparams = dict(quantisation.qparams)
    float_layers, loss = choose_float_layers(
        graph,
        scheme,
        qparams,
        layers=list(ratios),
        images=smaller,
        allowed_loss=allowed_loss,
        notify=lambda text: progress.step(f"{target}: {text}"),
    )
    values = quantised_values(graph, scheme, float_layers)
    quantisation = replace(
        quantisation,
        calibration=smaller.calibration,
        qparams=tuple((value, each) for value, each in qparams.items() if value in values),
        float_layers=tuple(float_layers),
        allowed_loss=allowed_loss,
        loss=loss,
    )
    return replace(target, quantisation=quantisation)


def _images(reference: Reference, target: Target, source: Path | None, size: tuple[int, int]) -> CalibrationImages:
    shipped = DIGITS if reference.weights.source == digits.SOURCE else PHOTOGRAPHS
    return CalibrationImages(
        source=source or shipped,
        height=size[0],
        width=size[1],
        preprocessing=reference.preprocessing,
        preprocess=target.preprocess,
    )


def _calibrate(
    graph: Graph, scheme: Scheme, images: CalibrationImages, *, target: Target, progress: Progress
) -> tuple[Quantisation, Graph]:
    """The quantisation that calibration determines, and the equalised graph."""
    exponents = equalisation_exponents(graph, _with_progress(images, f"{target}: equalising channels", progress))
    graph = equalise(graph, exponents)
    images_again = _with_progress(images, f"{target}: calibrating", progress)
    qparams = calibrate(graph, scheme, images_again, target.preprocess)
    _warn(images.calibration, progress)
    quantisation = Quantisation(
        calibration=images.calibration,
        equalisation_exponents=tuple(exponents.items()),
        qparams=tuple(qparams.items()),
    )
    return quantisation, graph


def _with_progress(images: CalibrationImages, text: str, progress: Progress) -> Iterator[npt.NDArray[np.float32]]:
    count = len(images)
    for done, image in enumerate(images):
        progress.advance(text, done, count)
        yield image
    progress.advance(text, count, count)


def _warn(calibration: Calibration, progress: Progress) -> None:
    if calibration.skipped:
        names = ", ".join(calibration.skipped)
        progress.warn(f"Skipped {len(calibration.skipped)} files that are not images, or damaged: {names}.")
    if calibration.images < RECOMMENDED:
        used = f"{calibration.images} images ({calibration.source})"
        progress.warn(f"Calibrated on {used}; {RECOMMENDED} like those that the app will see are recommended.")
