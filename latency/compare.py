"""Comparison of two runs on the same machine: whether the second is slower by more than noise.

A machine is not equally fast on two days. Each run times a calibration workload beside its cases: a case's time is
expressed in units of the calibration workload's, round by round, and these ratios are compared. Other work may slow
down by a different factor than the calibration workload, so a share of that workload's own change between the runs,
with its interval, widens the noise. Without a calibration workload in both runs, times are compared directly, and a
slower machine cannot be detected.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from evim_deploy.common.errors import BadInput
from latency.decision import Decision, Judgement, Validity, Verdict, decide, largest_deviation, noise_bound
from latency.judgement import Group, groups, judge, paired, seconds_per_image
from latency.results import Case, Host, Results
from latency.statistics import Interval, Logs, log_ratios, ratio_of_ratios

_DRIFT_SHARE = 0.25
"""Share of the calibration workload's change that counts as noise of a comparison."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """A case compared between two runs.

    Attributes:
        first: The case in the first run.
        second: The case in the second run.
        judgements: Judgements of both figures.
        interval: Ratio of the second run's time to the first run's; None if there are too few rounds.
        calibration: Ratio of the calibration workload's times; None without one in both runs.
        noise: Difference from 1 that the ratio must exceed for a verdict.
        decision: The decision on the ratio.
    """

    first: Case
    second: Case
    judgements: tuple[Judgement, Judgement]
    interval: Interval | None
    calibration: Interval | None
    noise: float
    decision: Decision

    @property
    def verdict(self) -> Verdict:
        """The verdict of the decision."""
        return self.decision.verdict

    @property
    def statuses(self) -> tuple[Validity, Validity]:
        """The validity of both figures."""
        first, second = self.judgements
        return first.status, second.status

    @property
    def machine(self) -> float | None:
        """The slowdown of the machine in the second run, measured by the calibration workload."""
        return self.calibration.estimate if self.calibration else None


def compare(first: Results, second: Results) -> list[RunComparison]:
    """Compare the cases that both runs timed, in the order of the second.

    Raises:
        BadInput: The runs are from different machines or protocols, or have no case in common.
    """
    protocols = [results.protocol.name for results in (first, second)]
    if len(set(protocols)) > 1:
        raise BadInput(
            f"The first was measured by the protocol {protocols[0]}, the second by {protocols[1]}.",
            "Use one for both.",
        )
    differing = [f"{name}: {a!r} and {b!r}" for name, a, b in _hosts(first.host, second.host) if a != b]
    if differing:
        raise BadInput(
            f"The two files come from different machines ({'; '.join(differing)}).",
            "Compare runs of one machine; `evim-deploy report A.json B.json` shows several side by side.",
        )
    before, after = (_timed(results) for results in (first, second))
    comparisons = [_compare_case(before[key], after[key]) for key in after if key in before]
    if not comparisons:
        raise BadInput(
            "The two files have no case in common that was timed in both.",
            "Run both with the same command: model, engine, precision, threads, size and batch must be the same.",
        )
    return comparisons


def _hosts(a: Host, b: Host) -> Sequence[tuple[str, object, object]]:
    names = ("machine", "processor", "cores", "accelerator")
    return [(name, getattr(a, name), getattr(b, name)) for name in names]


@dataclass(frozen=True)
class _TimedCase:
    case: Case
    group: Group
    judgement: Judgement


def _timed(results: Results) -> dict[Hashable, _TimedCase]:
    """The cases with meaningful samples, by the properties that must be equal in two runs."""
    judgements = judge(results)
    timed = [_TimedCase(case, group, judgements[case.id]) for group in groups(results).values() for case in group.cases]
    return {
        (each.case.id, each.case.height, each.case.width, each.case.batch): each
        for each in timed
        if each.judgement.status not in (Validity.NOT_MEASURED, Validity.INVALID)
    }


def _compare_case(a: _TimedCase, b: _TimedCase) -> RunComparison:
    units = a.group.calibration, b.group.calibration
    if not (units[0] and units[1] and units[0].rounds and units[1].rounds):
        units = None, None
    interval = ratio_of_ratios(_log_times(b.case, units[1]), _log_times(a.case, units[0]))
    calibration = ratio_of_ratios(_log_seconds(units[1]), _log_seconds(units[0])) if units[0] and units[1] else None
    noise = max(
        noise_bound(a.group.control, interval),
        noise_bound(b.group.control, interval),
        _DRIFT_SHARE * largest_deviation(calibration) if calibration else 0.0,
    )
    return RunComparison(
        first=a.case,
        second=b.case,
        judgements=(a.judgement, b.judgement),
        interval=interval,
        calibration=calibration,
        noise=noise,
        decision=decide(interval, noise, {"the figure in A": a.judgement, "the figure in B": b.judgement}),
    )


def _log_times(case: Case, calibration: Case | None) -> Logs:
    """The logarithm of a case's rounds, in units of the calibration workload's time or in seconds."""
    return paired(case, calibration) if calibration is not None else _log_seconds(case)


def _log_seconds(case: Case) -> Logs:
    """The logarithm of a case's rounds, seconds per image."""
    rounds = seconds_per_image(case)
    return log_ratios(rounds, [[1.0]] * len(rounds))
