"""Intervals and calibration, against scipy, known values and cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from evim_deploy.accuracy.measures import calibration_error, difference_interval, share_interval
from evim_deploy.accuracy.predictions import NO_CLASS, Predictions, top_predictions
from evim_deploy.accuracy.result import accuracy, agreement

Z = 1.959964


@pytest.mark.parametrize(("right", "count"), [(0, 7), (7, 7), (1, 1), (81, 263), (359, 360), (39_500, 50_000)])
def test_the_interval_of_a_share_is_wilsons(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert share_interval(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_a_share_keeps_within_its_ends() -> None:
    assert share_interval(0, 30)[0] == 0
    assert share_interval(30, 30)[1] == 1
    assert share_interval(30, 30)[0] < 0.9  # no point, however often it was right


def test_the_interval_of_a_difference_by_hand() -> None:
    """Ten gained and four lost of 98: with two more images 0.06, and a variance of (15 - 0.36) / 100^2."""
    reach = Z * np.sqrt(15 - 0.36) / 100
    assert difference_interval(10, 4, 98) == pytest.approx((0.06 - reach, 0.06 + reach), abs=1e-6)
    low, high = difference_interval(4, 10, 98)
    assert (-high, -low) == pytest.approx(difference_interval(10, 4, 98))


def test_the_interval_of_a_difference_is_no_point_where_nothing_differs() -> None:
    low, high = difference_interval(0, 0, 360)
    assert (low, high) == pytest.approx((-Z / 362, Z / 362), abs=1e-8)


@pytest.mark.parametrize(("gained", "lost"), [(0.02, 0.03), (0.2, 0.1)])
def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100_draws(gained: float, lost: float) -> None:
    draws = np.random.RandomState(0).multinomial(200, (gained, lost, 1 - gained - lost), 4000)
    bounds = np.array([difference_interval(int(more), int(fewer), 200) for more, fewer, _ in draws])
    holds = (bounds[:, 0] <= gained - lost) & (gained - lost <= bounds[:, 1])
    assert 0.94 < holds.mean() < 0.98


def test_the_calibration_error_by_hand() -> None:
    """Two images in the bin below 0.6, one correct: 0.05 overconfident; one below 1, wrong: 0.97 overconfident."""
    confidence = np.array([0.54, 0.56, 0.97])
    right = np.array([True, False, False])
    assert calibration_error(confidence, right) == pytest.approx((2 * 0.05 + 1 * 0.97) / 3)


def test_bins_of_a_calibration_error_are_separate() -> None:
    """Over- and underconfidence cancel out within a bin; a bin includes its upper bound."""
    apart = calibration_error(np.array([10 / 15, 11 / 15]), np.array([True, False]))
    assert apart == pytest.approx((5 / 15 + 11 / 15) / 2)
    together = calibration_error(np.array([10.1 / 15, 11 / 15]), np.array([True, False]))
    assert together == pytest.approx(abs(10.1 / 15 + 11 / 15 - 1) / 2)


def test_the_calibration_error_takes_the_ends() -> None:
    assert calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0
    assert calibration_error(np.array([0.0, 1.0]), np.array([True, False])) == 1


# --- from answers to figures


PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.0, np.nan, 0.0]])


def test_what_probabilities_say() -> None:
    result = top_predictions([4, 0, 2, 1], [3], PROBABILITIES, 0.5)
    assert result.top == [[1, 2, 0], [0, 1, 2], [2, 0, 1], [NO_CLASS] * 3]
    assert result.confidence == [0.7, 0.5, 0.6, 0.0]
    assert result.seen == 5


def test_accuracy_of_predictions() -> None:
    labels = np.array([1, NO_CLASS + 1, 2, 0, 1])  # by place
    result = accuracy(top_predictions([4, 0, 2, 1], [3], PROBABILITIES, 0.5), labels)
    assert result is not None
    assert (result.count, result.top1, result.top5, result.not_finite) == (4, 0.5, 0.75, 1)
    assert result.images_per_second == 8
    assert accuracy(Predictions(unreadable=[0]), labels) is None


def test_agreement_is_over_the_images_that_both_classified() -> None:
    mine = Predictions(images=[0, 1, 2, 3], unreadable=[], top=[[0], [1], [1], [2]], confidence=[1.0] * 4, seconds=1)
    its = Predictions(images=[3, 2, 1], unreadable=[0], top=[[2], [0], [0]], confidence=[1.0] * 3, seconds=1)
    result = agreement(mine, its, np.array([9, 1, 0, 0]))
    assert result is not None
    assert (result.count, result.share, result.difference) == (3, pytest.approx(1 / 3), 0)
    assert result.interval == difference_interval(1, 1, 3)
    assert agreement(mine, Predictions(), np.zeros(4, np.int64)) is None
