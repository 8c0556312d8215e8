"""Quantisation parameters represent their range to half a step, and 0 exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evim_deploy.graph.interpreter import round_to
from evim_deploy.quantise.qparams import EIGHT_BITS, SIXTEEN_BITS, QuantRange, choose_qparams


@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-7.0, -2.0), (-1e-3, 1e4), (0.0, 0.0)])
@pytest.mark.parametrize("quant_range", [EIGHT_BITS, SIXTEEN_BITS, QuantRange(-127, 127, is_symmetric=True)])
def test_the_ends_are_represented_to_half_a_step_and_zero_exactly(
    ends: tuple[float, float], quant_range: QuantRange
) -> None:
    qparams = choose_qparams(*ends, quant_range)
    values = torch.tensor([0.0, *ends], dtype=torch.float64)
    assert ((round_to(qparams, values) - values).abs() <= 0.51 * qparams.scale).all()
    assert round_to(qparams, values)[0] == 0


def test_values_beyond_the_range_are_clipped() -> None:
    qparams = choose_qparams(-1, 1, EIGHT_BITS)
    assert round_to(qparams, torch.tensor([-9.0, 9.0])).tolist() == pytest.approx(qparams.range)


def test_the_scale_is_rounded_to_the_type_in_the_file() -> None:
    scale = choose_qparams(-1, 1.7, EIGHT_BITS, np.float16).scale
    # As float64: numpy compares a float16 with a Python float in float16.
    assert scale == float(np.float16(scale)) != choose_qparams(-1, 1.7, EIGHT_BITS).scale


def test_sixteen_bits_have_headroom() -> None:
    assert choose_qparams(-1, 1, SIXTEEN_BITS).range[1] > 3.9


def test_rounding_twice_is_rounding_once() -> None:
    qparams, values = choose_qparams(-2, 5, EIGHT_BITS), torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(round_to(qparams, round_to(qparams, values)), round_to(qparams, values))
