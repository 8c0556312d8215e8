"""The judgement of simulated runs with known ratios: equal cases have no verdict, and a slower case is detected.

``python tests/support/simulated_runs.py`` prints the same for more runs.
"""

from __future__ import annotations

import functools

import pytest
import simulated_runs
from simulated_runs import MACHINES, Tally, compared_runs, found_slower, tally

from latency.decision import Validity
from latency.judgement import judge
from latency.statistics import CentreEstimate

RUNS = 100
CASES = [
    ("quiet", 20),
    ("shared", 60),
    ("drifting", 20),
    ("heavy-tailed", 10),
    ("two speeds, half of the time", 5),
    ("two speeds, half of the time", 60),
    ("two speeds, for a third", 10),
    ("two speeds, slow for 3 turns", 10),
    ("dependent rounds, 0.5", 5),
    ("dependent rounds, 0.5", 20),
    ("dependent rounds, 0.8", 60),
    ("processes 0.3 % apart", 60),
]


@functools.cache
def equal(machine: str, rounds: int) -> Tally:
    return tally(MACHINES[machine], rounds, RUNS)


@pytest.mark.parametrize(("machine", "rounds"), CASES)
def test_equal_cases_get_a_verdict_in_one_run_of_100_at_most(machine: str, rounds: int) -> None:
    """Any of the four cases of a run, in either direction, with and without the statuses."""
    found = equal(machine, rounds)
    assert found.announced <= 1
    assert found.beyond <= 1


def test_a_bound_that_ignores_the_control_s_interval_fails() -> None:
    """The negative control: with a bound from the estimate alone, more than one run in 100 has a verdict."""
    found = [equal(*case) for case in CASES]
    assert sum(each.by_estimate for each in found) > 0.02 * sum(each.runs for each in found)
    assert equal("dependent rounds, 0.8", 60).by_estimate > 1


@pytest.mark.parametrize(
    ("machine", "rounds", "least"), [("quiet", 30, 0.9), ("quiet", 60, 0.99), ("shared", 120, 0.95)]
)
def test_a_slowdown_of_5_percent_is_found(machine: str, rounds: int, least: float) -> None:
    """The noise of a shared machine requires more rounds."""
    assert found_slower(MACHINES[machine], rounds, RUNS) >= least * RUNS


COVERED = [case for case in CASES if case != ("dependent rounds, 0.5", 5) and "apart" not in case[0]]
"""The correlation of five dependent rounds cannot be estimated: their intervals cover the true ratio in 88 of 100 runs.
Processes that differ have a true ratio of their own, which their intervals cover."""


@pytest.mark.parametrize(("machine", "rounds"), COVERED)
def test_intervals_have_their_nominal_coverage(machine: str, rounds: int) -> None:
    """The coverage is 95 %; the five intervals of a run share a baseline, so 100 runs may fall short by 5 %."""
    found = equal(machine, rounds)
    assert found.covered >= 0.9 * found.intervals


def test_intervals_that_assume_independent_rounds_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the correlation between rounds."""
    monkeypatch.setattr(CentreEstimate, "variance_inflation", 1.0)
    found = tally(MACHINES["dependent rounds, 0.5"], 60, 50)
    assert found.covered < 0.85 * found.intervals


def test_two_runs_of_the_same_thing_are_called_equal_and_a_slower_one_is_found() -> None:
    assert compared_runs(MACHINES["shared"], 20, 50) == 0
    assert compared_runs(MACHINES["dependent rounds, 0.5"], 10, 50) <= 1
    assert compared_runs(MACHINES["quiet"], 60, 20, simulated_runs.SLOWDOWN) >= 19


def test_a_quiet_machine_s_figures_are_valid() -> None:
    """Otherwise the absence of verdicts would be meaningless."""
    runs = [simulated_runs.simulate(seed, MACHINES["quiet"], 20, calibration=True) for seed in range(20)]
    statuses = [judgement.status for run in runs for judgement in judge(run).values()]
    assert statuses.count(Validity.VALID) >= 0.9 * len(statuses)
