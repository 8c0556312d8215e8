"""The judgement of a results file: the validity of each figure, and each case compared with its baseline.

A figure is ``valid``, ``suspect`` (something may have distorted it) or ``invalid`` (it is meaningless).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from evim_deploy.common.errors import BadInput
from latency.decision import Decision, Judgement, Validity, Verdict, decide, noise_bound
from latency.enums import CaseRole, CheckStatus, Outcome
from latency.results import Case, ProtocolRecord, Reading, Results
from latency.statistics import MIN_ROUNDS, Interval, Logs, log_ratios, slowdown, summarise, typical_ratio

CONTROL_SUFFIX = ", control"
"""Suffix of a control's id, after the id of the case that it times again."""

_CONTROL_DEVIATION = 0.03
_STEAL = 0.05
_OTHERS = 0.25
_DRIFT = 1.25
_OUTLIERS = 0.1
_SLOWDOWN = 1.1
_MIN_SAMPLES = 5


@dataclass(frozen=True)
class CaseComparison:
    """A case compared with the baseline of its group, by the time of an image.

    Attributes:
        baseline: The baseline.
        interval: Ratio of the case's time to the baseline's; None if there are too few rounds.
        noise: Result of :func:`latency.decision.noise_bound`.
        decision: The decision on the ratio.
    """

    baseline: Case
    interval: Interval | None
    noise: float
    decision: Decision

    @property
    def verdict(self) -> Verdict:
        """The verdict of the decision."""
        return self.decision.verdict


class Group:
    """Cases whose rounds were interleaved.

    Args:
        members: The cases, with the control and the calibration workload.
        readings: Readings of the host during the rounds.
    """

    def __init__(self, members: Iterable[Case], readings: Iterable[Reading]) -> None:
        everyone = list(members)
        self.cases = [member for member in everyone if member.role == CaseRole.CASE]
        self.readings = list(readings)
        self._by_role = {member.role: member for member in everyone}

    @property
    def calibration(self) -> Case | None:
        """The calibration workload."""
        return self._by_role.get(CaseRole.CALIBRATION)

    @property
    def control_case(self) -> Case | None:
        """The control: a second process of one of the cases."""
        return self._by_role.get(CaseRole.CONTROL)

    @cached_property
    def control(self) -> Interval | None:
        """Ratio of the control to the case that it repeats, 1 on a machine without noise; None without a control."""
        second = self.control_case
        first = next((each for each in self.cases if second and f"{each.id}{CONTROL_SUFFIX}" == second.id), None)
        if second is None or first is None or not (was_timed(second) and was_timed(first)):
            return None
        return typical_ratio(paired(second, first))

    @property
    def noise(self) -> float:
        """The noise bound by the control alone."""
        return noise_bound(self.control)

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """Conditions of the host that may have distorted the figures."""
        return tuple(_conditions(self))

    def baseline(self, case: Case, name: str | None) -> Case | None:
        """The baseline of a case.

        Args:
            case: The case to compare.
            name: Name of the baseline (:func:`baseline_names`), preferably in the case's own engine; None for the first
                timed case of the group.
        """
        if name is None:
            return next((each for each in self.cases if was_timed(each)), None)
        candidates = [other for other in self.cases if name in baseline_names(other)]
        configuration = case.engine, case.precision, case.mode
        same = [other for other in candidates if (other.engine, other.precision, other.mode) == configuration]
        return next(iter(same or candidates), None)


def baseline_names(case: Case) -> tuple[str, ...]:
    """The names of a case as a baseline: its subject, which an engine and a precision may narrow down."""
    name = case.subject.name
    engine = f"{name}, {case.engine}"
    return name, engine, f"{engine}, {case.precision}"


def require_baseline(files: Iterable[Results], baseline: str | None) -> None:
    """Check that a file has the baseline.

    Raises:
        BadInput: No case has this name.
    """
    cases = [case for results in files for case in results.cases if case.role == CaseRole.CASE]
    if baseline is not None and not any(baseline in baseline_names(case) for case in cases):
        known = ", ".join(dict.fromkeys(case.subject.name for case in cases))
        raise BadInput(
            f"The results have no case {baseline!r}.",
            f"Name one of {known}; 'NAME, ENGINE' or 'NAME, ENGINE, PRECISION' narrows it down.",
        )


def is_wrong(case: Case) -> bool:
    """Whether the output of a case differs from its model's."""
    return case.check is not None and case.check.status == CheckStatus.DIFFERENT


def was_timed(case: Case) -> bool:
    """Whether a case has samples of a correct output and did not fail."""
    return bool(case.rounds) and case.outcome == Outcome.MEASURED and not is_wrong(case)


def seconds_per_image(case: Case) -> list[list[float]]:
    """The samples round by round, each divided by the batch."""
    return [[sample / case.batch for sample in each.samples_s] for each in case.rounds]


def paired(case: Case, baseline: Case) -> Logs:
    """The logarithm of the ratio of a case's time of an image to the baseline's, in each round that both have.

    Rounds that were not timed next to each other are left out, since the machine may have changed between them. Two
    rounds are next to each other if both started after the previous round and before the next one of either case.
    """
    own, other = (
        {each.index: (each.started_s, samples) for each, samples in zip(c.rounds, seconds_per_image(c), strict=True)}
        for c in (case, baseline)
    )
    order = sorted({*own, *other})
    starts = [sorted(rounds[index][0] for rounds in (own, other) if index in rounds) for index in order]
    neighbours = [[-math.inf], *starts, [math.inf]]
    common = [
        index
        for index, before, both, after in zip(order, neighbours, starts, neighbours[2:], strict=False)
        if len(both) > 1 and before[-1] <= both[0] and both[-1] <= after[0]
    ]
    return log_ratios([own[index][1] for index in common], [other[index][1] for index in common])


def groups(results: Results) -> dict[str, Group]:
    """The groups of a file by name, in order."""
    members: dict[str, list[Case]] = {}
    for case in results.cases:
        members.setdefault(case.group, []).append(case)
    starts = {
        name: min((each.started_s for case in group for each in case.rounds), default=math.inf)
        for name, group in members.items()
    }
    return {name: Group(group, _readings(results, starts[name], starts.values())) for name, group in members.items()}


def _readings(results: Results, start: float, group_starts: Iterable[float]) -> list[Reading]:
    """The last reading before a group's first round, and the readings from then until the next group starts."""
    end = min((other for other in group_starts if other > start), default=math.inf)
    before = [reading for reading in results.readings if reading.at_s < start]
    return [*before[-1:], *(reading for reading in results.readings if start <= reading.at_s < end)]


def judge(results: Results) -> dict[str, Judgement]:
    """Judge the figures of each case; returns the judgements by id."""
    return {
        case.id: _judge(case, group, results.protocol) for group in groups(results).values() for case in group.cases
    }


def compare_with_baseline(results: Results, baseline: str | None = None) -> dict[str, CaseComparison]:
    """Compare each case with its baseline; returns the possible comparisons by id.

    Args:
        results: The results file.
        baseline: One of :func:`baseline_names`; None for the first timed case of each group.

    Raises:
        BadInput: No case of the file has this name.
    """
    require_baseline([results], baseline)
    judgements, comparisons = judge(results), {}
    for group in groups(results).values():
        for case in group.cases:
            other = group.baseline(case, baseline)
            if other is None or other.id == case.id or not (was_timed(case) and was_timed(other)):
                continue
            interval = typical_ratio(paired(case, other))
            noise = noise_bound(group.control, interval)
            figures = {"the baseline's figure": judgements[other.id], "its own figure": judgements[case.id]}
            comparisons[case.id] = CaseComparison(other, interval, noise, decide(interval, noise, figures))
    return comparisons


def _judge(case: Case, group: Group, protocol: ProtocolRecord) -> Judgement:
    if not case.rounds:
        return Judgement(Validity.NOT_MEASURED, (case.reason or case.outcome,), None)
    summary = summarise(case.samples)
    if case.check is not None and is_wrong(case):
        return Judgement(Validity.INVALID, (f"its answers differ: {case.check.against}",), summary)
    if not was_timed(case):
        return Judgement(Validity.INVALID, (f"it failed on the way: {case.reason}",), summary)
    reasons = [*group.conditions]
    if case.check is None or case.check.status == CheckStatus.NOT_CHECKED:
        reasons.append(f"its answers were not checked: {case.check.against if case.check else 'no record'}")
    if case.reason:
        reasons.append(case.reason)
    if len(case.rounds) < protocol.rounds:
        reasons.append(f"{len(case.rounds)} of {protocol.rounds} rounds were timed")
    if summary.count < _MIN_SAMPLES:
        reasons.append(f"it has {summary.count} samples")
    if len(summary.outliers) > _OUTLIERS * summary.count:
        reasons.append(f"{len(summary.outliers)} of {summary.count} samples are outliers")
    # a calibration workload measures the machine's speed; without one, a phone reports its heat late or never
    slower = slowdown(case.samples) if group.calibration is None else None
    if slower is not None and slower > _SLOWDOWN:
        reasons.append(f"it took {slower:.2f} times as long at the end as at the beginning")
    return Judgement(Validity.SUSPECT if reasons else Validity.VALID, tuple(reasons), summary)


def _conditions(group: Group) -> Iterator[str]:
    control, second = group.control, group.control_case
    if control is not None and abs(control.estimate - 1) > _CONTROL_DEVIATION:
        yield f"a second process of the same thing took {control.estimate:.2f} times as long"
    if second is not None and not was_timed(second):
        yield f"a second process of the same thing was not timed: {second.reason or second.outcome}"
    if group.calibration is not None and len(group.calibration.rounds) >= MIN_ROUNDS:
        medians = sorted(summarise(each.samples_s).median for each in group.calibration.rounds)
        low, high = medians[len(medians) // 10], medians[-1 - len(medians) // 10]
        if high > _DRIFT * low:
            yield f"the machine's own speed varied by {high / low:.2f} meanwhile"
    during = [reading for reading in group.readings if reading.phase == "during"]
    for value, limit, text in (
        (_mean(reading.steal_share for reading in during), _STEAL, "of the processor's time was stolen by others"),
        (_mean(reading.others_share for reading in during), _OTHERS, "of a core went to other processes"),
    ):
        if value is not None and value > limit:
            yield f"{value:.0%} {text}"
    counts = [reading.throttled for reading in group.readings if reading.throttled is not None]
    if counts and counts[-1] > counts[0]:
        yield "the processor was slowed down for heat"
    if {reading.thermal_state for reading in group.readings} & {"serious", "critical"}:
        yield "the device was hot"
    if any(reading.low_power_mode for reading in group.readings):
        yield "low power mode was on"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
