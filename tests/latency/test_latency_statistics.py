"""The statistics of samples with results known by hand; test_latency_simulated.py has seeded simulations."""

from __future__ import annotations

import numpy as np
import pytest
from latency_files import make_case

from latency.decision import SMALLEST_EFFECT, Verdict, verdict
from latency.judgement import paired
from latency.results import Case, Round
from latency.statistics import (
    MIN_ROUNDS,
    CentreEstimate,
    Interval,
    growth_exponent,
    log_ratios,
    ratio_of_ratios,
    slowdown,
    summarise,
    trimmed_mean,
    typical_ratio,
)


def measured(id_: str, role: str, samples: list[list[float]]) -> Case:
    """A case with these samples of one image."""
    rounds = [Round(index=i, started_s=i, samples_s=each) for i, each in enumerate(samples)]
    return make_case(id_, None, id=id_, role=role, group="simulated", batch=1, outcome="measured").model_copy(
        update={"rounds": rounds}
    )


def test_a_summary_flags_outliers_and_counts_them() -> None:
    samples = [1.0, 1.01, 0.99, 1.02, 0.98, 5.0, 1.0, 1.01, 0.99, 1.0]
    summary = summarise(samples)
    assert summary.count == 10
    assert summary.median == 1.0
    assert summary.mean == pytest.approx(1.4)
    assert summary.minimum == 0.98
    assert summary.outliers == (5,)
    assert summary.deviation == pytest.approx(np.std(samples, ddof=1))
    assert summary.p90 == pytest.approx(np.percentile(samples, 90))


def test_a_summary_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_samples_that_never_differ_have_no_outliers() -> None:
    assert summarise([1.0] * 5).outliers == ()
    assert summarise([1.0]).deviation == 0


def test_ratios_are_computed_within_rounds() -> None:
    """The machine is three times as slow in every second round, and the ratio is the same in all."""
    speeds = [1.0, 3.0] * 4
    interval = typical_ratio(log_ratios([[1.2 * s] for s in speeds], [[1.0 * s] for s in speeds]))
    assert interval is not None
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((1.2, 1.2, 1.2))


def test_one_wild_round_does_not_move_the_ratio() -> None:
    rounds = [[1.1]] * 9 + [[50.0]]
    interval = typical_ratio(log_ratios(rounds, [[1.0]] * 10))
    assert interval is not None
    assert interval.estimate == pytest.approx(1.1)


def test_the_error_of_a_trimmed_mean_is_yuen_s() -> None:
    """Trimming a fifth of 0 to 9 leaves 2 to 7; by hand, the variance of 2, 2, 2, 3, ..., 6, 7, 7, 7 is 42.5 / 9."""
    places = np.array([3.0, 9, 0, 6, 4, 1, 8, 2, 5, 7])
    centre = CentreEstimate(places)
    assert centre.value == 4.5
    assert centre.variance / centre.variance_inflation == pytest.approx(42.5 / 9 * 9 / (6 * 5))
    assert centre.degrees_of_freedom == pytest.approx(6 / centre.variance_inflation - 1)


@pytest.mark.parametrize(("order", "expected"), [([0, 1] * 10, 1.0), ([0] * 10 + [1] * 10, 39.0)])
def test_correlated_rounds_have_less_information(order: list[float], expected: float) -> None:
    """Alternating rounds are as informative as independent ones; if one half is slow, twenty rounds are hardly two."""
    assert CentreEstimate(np.array(order, np.float64)).variance_inflation == pytest.approx(expected)


def test_with_few_rounds_one_that_differs_counts() -> None:
    """Trimming leaves three equal rounds, whose variance is zero."""
    centre = CentreEstimate(np.array([0.0, 0, 0.7, 0, 0]))
    assert centre.variance >= np.var(centre.logs, ddof=1) / 5
    assert centre.degrees_of_freedom == 4


def test_too_few_rounds_have_no_interval() -> None:
    few = MIN_ROUNDS - 1
    assert typical_ratio(log_ratios([[2.0]] * few, [[1.0]] * few)) is None
    assert verdict(None, SMALLEST_EFFECT) == Verdict.UNDECIDED


def test_rounds_are_paired_by_their_number_and_those_that_only_one_has_are_left_out() -> None:
    """The machine becomes twice as slow in every round; one of the two cases lacks the third."""
    times = [[float(2**i)] for i in range(8)]
    one, other = measured("one", "contender", times), measured("other", "contender", times)
    gap = other.model_copy(update={"rounds": [each for each in other.rounds if each.index != 2]})
    assert paired(one, gap).tolist() == [0.0] * 7


def test_rounds_timed_one_case_after_the_other_are_not_paired() -> None:
    """The protocol paper times them so: the machine may change meanwhile."""
    one, other = measured("one", "contender", [[1.0]] * 10), measured("other", "contender", [[1.1]] * 10)
    assert len(paired(one, other)) == 10
    later = [each.model_copy(update={"started_s": each.started_s + 10}) for each in other.rounds]
    assert len(paired(one, other.model_copy(update={"rounds": later}))) == 0
    half = [each.model_copy(update={"started_s": each.started_s + 100 * (each.index >= 6)}) for each in other.rounds]
    assert len(paired(one, other.model_copy(update={"rounds": half}))) == 6


def test_ratios_of_two_runs() -> None:
    first, second = np.log([2.0] * 8), np.log([3.0] * 6)
    interval = ratio_of_ratios(second, first)
    assert interval is not None
    assert interval.estimate == pytest.approx(1.5)
    assert ratio_of_ratios(second[:3], first) is None


@pytest.mark.parametrize(
    ("low", "high", "noise", "expected"),
    [
        (1.02, 1.08, 0.01, Verdict.SLOWER),
        (0.90, 0.95, 0.01, Verdict.FASTER),
        (0.98, 1.08, 0.01, Verdict.UNDECIDED),
        (1.02, 1.08, 0.03, Verdict.UNDECIDED),
        (0.95, 0.98, 0.03, Verdict.UNDECIDED),
    ],
)
def test_a_verdict_needs_the_whole_interval_beyond_the_noise(
    low: float, high: float, noise: float, expected: str
) -> None:
    assert verdict(Interval((low + high) / 2, low, high), noise) == expected


def test_the_growth_of_cost_is_fitted() -> None:
    sides = (224, 512, 1024, 2048)
    pixels = [side * side for side in sides]
    assert growth_exponent(pixels, [2e-9 * p**1.25 for p in pixels]) == pytest.approx(1.25)
    assert growth_exponent(pixels[:2], [1.0, 2.0]) is None


def test_a_slowdown_is_of_the_last_fifth_over_the_first() -> None:
    assert slowdown([1.0] * 5 + [9.0] * 15 + [3.0] * 5) == 3.0
    assert slowdown([1.0] * 24) is None
    assert slowdown([2.0, 1.0, 2.0, 2.0, 50.0] * 10) == 1.0  # bursts are no slowdown


def test_the_trimmed_mean_is_that_of_modelbench() -> None:
    """Hand-computed: the mean of 0 to 49 without ten at each end is 24.5; rounds of any length have equal weight."""
    count = [float(each) for each in range(50)]
    assert trimmed_mean([count], 10) == 24.5
    assert trimmed_mean([[1000.0, *count[1:]]], 10) == 25.5  # one that was far up is cut off, and the next one counts
    assert trimmed_mean([count, [4.5]], 10) == 14.5
