"""Quantised kernels: their error, and the scales, groups and tables that reduce it."""

from __future__ import annotations

import numpy as np
import pytest

from evim_deploy.graph.quantised import AffineQuantised, Palettised
from evim_deploy.quantise.weight_quantisation import WeightQuantisation

KERNEL = np.random.default_rng(0).normal(size=(16, 64, 3, 3)) * np.logspace(-3, 1, 16)[:, None, None, None]


def test_eight_bits_lose_at_most_half_a_step_of_each_channel() -> None:
    encoding = WeightQuantisation(bits=8).encode(KERNEL)
    assert isinstance(encoding, AffineQuantised)
    assert encoding.values.dtype == np.int8
    assert encoding.scale.shape == (16, 1, 1, 1)
    assert (np.abs(encoding.dequantise() - KERNEL) <= 0.5 * encoding.scale * (1 + 1e-6)).all()


def test_a_scale_per_group_is_better_than_a_scale_per_channel() -> None:
    kernel = KERNEL * np.logspace(-1, 1, 64)[None, :, None, None]
    channels, groups = (WeightQuantisation(bits=4, group_size=size).encode(kernel) for size in (None, 32))
    assert isinstance(groups, AffineQuantised)
    assert groups.scale.shape == (16, 2, 1, 1)
    assert np.abs(groups.values).max() <= 7
    lost = [np.square(each.dequantise() - kernel).sum() for each in (channels, groups) if each is not None]
    assert lost[1] < lost[0]


def test_a_scale_of_four_bits_is_no_worse_than_the_scale_that_reaches_the_largest_weight() -> None:
    encoding = WeightQuantisation(bits=4).encode(KERNEL)
    assert encoding is not None
    scale = np.abs(KERNEL).max((1, 2, 3), keepdims=True) / 7
    plain = np.rint(KERNEL / scale) * scale
    lost, naive = (np.square(each - KERNEL).sum((1, 2, 3)) for each in (encoding.dequantise(), plain))
    assert (lost <= naive * (1 + 1e-6)).all()
    assert lost.sum() < 0.95 * naive.sum()


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_a_table_has_the_size_of_its_bits_and_beats_even_steps(bits: int) -> None:
    kernel = np.random.default_rng(1).laplace(size=(8, 512))
    encoding = WeightQuantisation(bits=bits, palettise=True).encode(kernel)
    assert isinstance(encoding, Palettised)
    assert encoding.table.shape == (2**bits,)
    assert encoding.values.max() < 2**bits
    steps = np.linspace(kernel.min(), kernel.max(), 2**bits)
    even = steps[np.abs(kernel[..., None] - steps).argmin(-1)]
    assert np.square(encoding.dequantise() - kernel).sum() < 0.7 * np.square(even - kernel).sum()


def test_a_table_with_more_entries_than_values_is_exact() -> None:
    kernel = np.array([[1.0, 2.0, 1.0, -4.0]])
    encoding = WeightQuantisation(bits=4, palettise=True).encode(kernel)
    assert encoding is not None
    assert np.array_equal(encoding.dequantise(), kernel)


def test_zeros_stay_zeros() -> None:
    encoding = WeightQuantisation(bits=8).encode(np.zeros((2, 3)))
    assert encoding is not None
    assert not encoding.dequantise().any()


def test_small_kernels_stay_in_floating_point() -> None:
    assert WeightQuantisation(bits=8, min_size=64).encode(np.ones((4, 4))) is None
