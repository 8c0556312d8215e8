"""Calibration is reproducible, streams its images, and clips long tails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantisation import INTEGERS, photographs

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.calibration import RangeObserver, calibrate


def test_calibration_is_reproducible(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    assert calibrate(graph, INTEGERS, photographs(), pixels=True) == qparams


def test_pixels_are_quantised_values_already(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    assert qparams[graph.input_name] == QuantParams(1.0, 0, 0, 255)


def test_any_number_of_images_is_streamed(graph: Graph) -> None:
    images = (image for _ in range(20) for image in photographs())  # a generator: each is read once
    assert calibrate(graph, INTEGERS, images, pixels=True)


def test_a_long_tail_is_clipped_where_that_loses_less() -> None:
    observer = RangeObserver(0)
    observer.add(torch.distributions.Laplace(0, 1).icdf(torch.linspace(1e-6, 1 - 1e-6, 50000)))
    assert observer.qparams(INTEGERS.quant_range, np.float32).range[1] < 0.95 * 13
    even = RangeObserver(0)
    even.add(torch.linspace(-13, 13, 50000))
    assert even.qparams(INTEGERS.quant_range, np.float32).range[1] == pytest.approx(13, rel=0.01)
