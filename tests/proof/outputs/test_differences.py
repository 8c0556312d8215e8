"""Each measure of a difference on cases computed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evim_deploy.artifact.parity import Measures, WorstElement
from evim_deploy.common.errors import ParityFailed
from evim_deploy.proof.outputs.differences import as_logits, measure, pair_outputs

Array = npt.NDArray[Any]


def array(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def images(count: int) -> list[str]:
    return [f"image {index}" for index in range(count)]


def measured(reference: Array, actual: Array, classes: bool = True) -> Measures:
    """The measures of one output with a leading image axis."""
    return measure(pair_outputs(images(len(reference)), {"logits": reference}, {"logits": actual}), classes)


def one(reference: Array, actual: Array, classes: bool = True) -> Measures:
    """The measures of one output of one image."""
    return measured(reference[None], actual[None], classes)


# --- absolute errors, of the range -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "actual", "largest", "mean"),
    [
        (array(1, -4, 2), array(1, -4, 2), 0, 0),
        (array(1, -4, 2), array(1, -4, 3), 1 / 6, 1 / 18),  # from -4 to 2 is a range of 6
        (array(1, -4, 2), array(1, -1, 2), 3 / 6, 3 / 18),
        (array(1, -4, 2), array(2, -2, 2), 2 / 6, 3 / 18),
        (array(1, -4, 2), array(13, -4, 2), 2, 2 / 3),
        (array(101, 96, 102), array(101, 96, 103), 1 / 6, 1 / 18),  # a shift of both changes nothing
        (array(2, 2), array(2, -2), 2, 1),  # a constant: of its magnitude
        (array(-0.5), array(-0.25), 1 / 2, 1 / 2),
        (array(0, 0), array(0, 0), 0, 0),
        (array(0, 0), array(0, 3), 3, 1.5),  # nothing to be relative to
        (array(1e-30, 2e-30), array(1e-30, 1.5e-30), 1 / 2, 1 / 4),
    ],
)
def test_errors_are_in_units_of_the_range(reference: Array, actual: Array, largest: float, mean: float) -> None:
    result = one(reference, actual)
    assert result.max_abs == pytest.approx(largest, rel=1e-6, abs=0)
    assert result.mean_abs == pytest.approx(mean, rel=1e-6, abs=0)


@pytest.mark.parametrize("ranges", [[4], [4, 8], [10, 8, 4], [0.001, 8, 8, 10], [0, 8, 8, 10]])
def test_the_range_is_the_largest_of_all_images(ranges: list[float]) -> None:
    """With two classes the logits of one image may be arbitrarily close, where no arithmetic is exact enough."""
    reference = np.stack([array(0, span) for span in ranges])
    for index in range(len(ranges)):
        actual = reference.copy()
        actual[index, 0] -= 2
        result = measured(reference, actual)
        assert result.max_abs == pytest.approx(2 / max(ranges))
        assert result.worst.input == f"image {index}"


def test_an_offset_between_images_is_no_range() -> None:
    """Logits are defined up to a constant for each image."""
    reference = np.stack([array(0, 1), array(100, 101)])
    assert measured(reference, reference + array(0, 0.5)).max_abs == pytest.approx(1 / 2)


def test_the_range_is_of_each_output_by_itself() -> None:
    reference = {"small": array(0, 1)[None], "large": array(0, 1000)[None]}
    actual = {"small": array(0, 1.25)[None], "large": array(0, 1001)[None]}
    result = measure(pair_outputs(["image"], reference, actual), False)
    assert result.max_abs == 1 / 4
    assert result.worst.output == "small"
    assert result.mean_abs == pytest.approx((1 / 8 + 1 / 2000) / 2)


def test_an_error_below_float32_is_seen() -> None:
    result = one(array(0, 1), np.array([0, 1 + 1e-10]))
    assert result.max_abs == pytest.approx(1e-10, rel=1e-5)


def test_float16_is_widened_before_it_is_subtracted() -> None:
    """60000 - (-60000) is infinite in float16."""
    values = np.array([[60000, -60000]], dtype=np.float16)
    assert measured(values, values).max_abs == 0


# --- where it is worst ---------------------------------------------------------------------------------


def test_the_worst_is_named_by_input_output_and_place() -> None:
    maps = np.zeros((2, 3, 4, 5), dtype=np.float32)
    maps[:, 0, 0, 0] = 8
    moved = maps.copy()
    moved[1, 2, 3, 4] = 1
    moved[0, 1, 1, 1] = 0.5
    other = np.stack([array(0, 1), array(0, 1)])
    result = measure(pair_outputs(images(2), {"other": other, "maps": maps}, {"other": other, "maps": moved}), False)
    assert result.max_abs == 1 / 8
    assert result.worst == WorstElement("image 1", "maps", (2, 3, 4))


def test_the_place_of_the_first_value_that_is_not_finite_is_reported() -> None:
    assert one(array(1, 2, 3), array(1, math.nan, math.inf)).worst.index == (1,)


# --- cosine and signal to noise --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "actual", "cosine"),
    [
        (array(3, 4), array(3, 4), 1),
        (array(3, 4), array(30, 40), 1),  # a gain alone
        (array(1, 0), array(1, 1), 1 / math.sqrt(2)),
        (array(1, 0), array(0, 1), 0),
        (array(1, 2), array(-1, -2), -1),
        (array(3, 4), array(4, 3), 24 / 25),
        (array(0, 0), array(0, 0), 1),  # equal, though they have no direction
        (array(0, 0), array(0, 1), 0),
        (array(1, 0), array(0, 0), 0),
    ],
)
def test_cosine(reference: Array, actual: Array, cosine: float) -> None:
    assert one(reference, actual).cosine == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "actual", "snr_db"),
    [
        (array(10, 0), array(10, 1), 20),  # 100 of signal to 1 of noise
        (array(3, 4), array(3, 9), 0),  # 25 to 25
        (array(1, 0), array(1, 10), -20),
        (array(1, 1), array(1, 1), math.inf),
        (array(0, 0), array(0, 0), math.inf),
        (array(0, 0), array(0, 1), -math.inf),
    ],
)
def test_signal_to_noise(reference: Array, actual: Array, snr_db: float) -> None:
    assert one(reference, actual).snr_db == pytest.approx(snr_db, abs=1e-12)


def test_cosine_and_signal_to_noise_are_the_least_of_all_images() -> None:
    reference = np.stack([array(10, 0), array(1, 0), array(3, 4)])
    actual = np.stack([array(10, 1), array(1, 1), array(3, 4)])
    result = measured(reference, actual)
    assert result.cosine == pytest.approx(1 / math.sqrt(2))
    assert result.snr_db == pytest.approx(0, abs=1e-12)


# --- classes ---------------------------------------------------------------------------------------------

TEN = np.arange(10, dtype=np.float32)
"""The likeliest five are 9, 8, 7, 6 and 5."""


def exchanged(first: int, second: int) -> Array:
    values = TEN.copy()
    values[[first, second]] = values[[second, first]]
    return values


@pytest.mark.parametrize(
    ("actual", "top1", "top5"),
    [
        (TEN, 1, 1),
        (exchanged(9, 8), 0, 1),  # another first, the same five
        (exchanged(5, 4), 1, 4 / 5),
        (exchanged(9, 0), 0, 4 / 5),
        (TEN[::-1].copy(), 0, 0),
        (TEN + 100, 1, 1),
    ],
)
def test_agreement_of_classes(actual: Array, top1: float, top5: float) -> None:
    result = one(TEN, actual)
    assert (result.top1, result.top5) == (top1, top5)


def test_agreement_is_the_share_of_all_images() -> None:
    result = measured(np.stack([TEN] * 4), np.stack([TEN, TEN, TEN, exchanged(9, 0)]))
    assert (result.top1, result.top5) == (3 / 4, pytest.approx(19 / 20))


def test_fewer_classes_than_five_are_all_the_five_there_are() -> None:
    result = one(array(1, 2, 3), array(3, 2, 1))
    assert (result.top1, result.top5) == (0, 1)


@pytest.mark.parametrize(
    ("reference", "actual", "divergence"),
    [
        (array(0, 0), array(0, 0), 0),
        (array(0, 0), array(5, 5), 0),  # the same probabilities
        (array(0, 0), np.log([3.0, 1.0]), math.log(2 / 3) / 2 + math.log(2) / 2),  # (1/2, 1/2) from (3/4, 1/4)
        (np.log([3.0, 1.0]), array(0, 0), 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)),
        (np.log([1.0, 2.0, 5.0]), np.log([2.0, 1.0, 5.0]), (math.log(1 / 2) + 2 * math.log(2)) / 8),
    ],
)
def test_divergence(reference: Array, actual: Array, divergence: float) -> None:
    assert one(reference, actual).kl == pytest.approx(divergence, abs=1e-7)


def test_divergence_is_the_largest_of_all_images_and_finite_where_probabilities_vanish() -> None:
    reference, actual = np.stack([array(0, 0), array(0, -2000)]), np.stack([array(0, 0), array(-2000, 0)])
    divergence = measured(reference, actual).kl
    assert divergence is not None
    assert 700 < divergence < 710  # all of the probability, at the log of float64's least


def test_dense_features_have_no_classes() -> None:
    result = one(TEN, exchanged(9, 0), classes=False)
    assert (result.top1, result.top5, result.kl) == (None, None, None)
    assert result.max_abs == 1


# --- what is not finite ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "actual"),
    [
        (array(1, 2), array(1, math.nan)),
        (array(1, 2), array(1, math.inf)),
        (array(1, 2), array(-math.inf, 2)),
        (array(math.nan, 2), array(1, 2)),
        (array(math.inf, 2), array(math.inf, 2)),  # equal, and no reference to trust
        (array(math.nan, 2), array(math.nan, 2)),
        (array(3e38, -3e38), array(3e38, math.inf)),
    ],
)
def test_what_is_not_finite_is_as_wrong_as_can_be(reference: Array, actual: Array) -> None:
    result = one(reference, actual)
    assert (result.max_abs, result.mean_abs, result.snr_db, result.kl) == (math.inf, math.inf, -math.inf, math.inf)
    assert (result.cosine, result.top1, result.top5) == (0, 0, 0)


def test_one_image_that_is_not_finite_shows_among_others() -> None:
    reference, actual = np.stack([TEN] * 3), np.stack([TEN] * 3)
    actual[1, 4] = math.nan
    result = measured(reference, actual)
    assert (result.max_abs, result.worst.input, result.worst.index) == (math.inf, "image 1", (4,))
    assert result.top1 == pytest.approx(2 / 3)


# --- what does not line up -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "said"),
    [
        ({}, "logits is missing"),
        ({"probabilities": np.zeros((2, 3))}, "logits is missing"),
        ({"logits": np.zeros((2, 4))}, r"has shape \(4,\); its shape should be \(3,\)"),
        ({"logits": np.zeros((2, 3, 1))}, r"has shape \(3, 1\)"),
        ({"logits": np.zeros((1, 3))}, "logits"),
        ({"logits": np.zeros((3, 2))}, "logits"),
    ],
)
def test_a_missing_output_or_another_shape_is_no_match(actual: Mapping[str, Array], said: str) -> None:
    with pytest.raises(ParityFailed, match=said):
        pair_outputs(images(2), {"logits": np.zeros((2, 3))}, actual)


def test_a_second_output_that_is_missing_is_no_match() -> None:
    maps = np.zeros((1, 2, 3, 3))
    with pytest.raises(ParityFailed, match="stride32"):
        pair_outputs(images(1), {"stride16": maps, "stride32": maps}, {"stride16": maps})


def test_probabilities_next_to_equal_are_compared_to_what_float32_tells_of_them() -> None:
    """Rounding of the probabilities is not an error; a change of a thousandth is."""
    logits = 1e-3 * np.random.RandomState(0).standard_normal((1, 1000))
    exact = np.exp(logits) / np.exp(logits).sum()
    rounded = exact.astype(np.float32)
    wrong = rounded.copy()
    wrong[0, 0] *= 1.001
    expected, sound, faulty = ({"probabilities": as_logits(each, 1e-30)} for each in (exact, rounded, wrong))
    measured = [measure(pair_outputs(["a"], expected, result), classes=False) for result in (sound, faulty)]
    assert measured[0].max_abs < 3e-5
    assert measured[0].mean_abs < 3e-6
    assert measured[1].max_abs > 3e-2
