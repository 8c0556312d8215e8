"""An integer quantisation scheme for tests, calibration images, and the noise of a quantised graph."""

from __future__ import annotations

import torch

from evim_deploy.catalog.terms import Precision
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.quantise.calibration_images import PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.schemes import WEIGHTED, Scheme
from evim_deploy.quantise.weight_quantisation import WeightQuantisation

SIDE = 64
INTEGERS = Scheme(
    weights=WeightQuantisation(bits=8),
    float_precision=Precision.FP32,
    description="all in 8 bits",
    integer_ops=WEIGHTED | {"shift", "relu", "add"},
)


def photographs(side: int = SIDE) -> CalibrationImages:
    return CalibrationImages(source=PHOTOGRAPHS, height=side, width=side, preprocessing=PAPER, preprocess=True)


def logits(graph: Graph) -> torch.Tensor:
    """Logits of the photographs, (B, classes)."""
    return torch.cat([evaluate(graph, torch.from_numpy(image))["logits"] for image in photographs()])


def snr_db(expected: torch.Tensor, actual: torch.Tensor) -> float:
    return float(10 * torch.log10(expected.square().sum() / (actual - expected).square().sum()))
