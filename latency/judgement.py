"""What may be said of a results file: how far each figure can be believed, and which of two is faster.

A figure is ``valid``, ``suspect`` (it stands, and something may have bent it) or ``invalid`` (it tells
nothing). :func:`decide` is the one place where a ratio is called faster or slower: of two valid figures, and only if
its whole interval lies beyond the noise (:func:`noise_bound`), which a control measures, a second process of the same
thing.

Fewer than 1 of 100 simulated runs of four equal contenders give any of them a verdict (``python
tests/support/simulated_runs.py``). Two kinds of noise are beyond that, and give more: processes that differ for their
whole life, by where their memory lies, by a standard deviation of 0.5 % or more on a machine that is otherwise quiet,
since a control is one draw of it (none of the controls in benchmarks/ shows such a difference); and fewer than twenty
rounds with an autocorrelation of 0.8 or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from evim_deploy.common.errors import BadInput
from latency.results import Contender, Protocol, Reading, Results
from latency.statistics import FEWEST_ROUNDS, Interval, Logs, Summary, log_ratios, slowdown, summarise, typical_ratio

VALID, SUSPECT, INVALID, NOT_MEASURED = "valid", "suspect", "invalid", "not measured"
FASTER, SLOWER, UNDECIDED = "faster", "slower", "decides nothing"

TOO_FEW = "too few rounds next to each other to say how far the ratio is known"

SMALLEST_EFFECT = 0.01
"""A ratio nearer to 1 is called no difference."""

CONTROL = ", control"
"""What the id of a control has after that of the contender that it times once more."""

_CONTROL_STRAYS = 0.03
_STEAL = 0.05
_OTHERS = 0.25
_DRIFT = 1.25
_OUTLIERS = 0.1
_SLOWDOWN = 1.1
_FEWEST_SAMPLES = 5


@dataclass(frozen=True)
class Judgement:
    """How far a contender's figures can be believed.

    Attributes:
        status: ``valid``, ``suspect``, ``invalid`` or ``not measured``.
        reasons: Why it is not valid, in words.
        summary: Of the seconds that one prediction of its batch took; None without samples.
    """

    status: str
    reasons: tuple[str, ...]
    summary: Summary | None


@dataclass(frozen=True)
class Decision:
    """Whether a ratio decides something.

    Attributes:
        verdict: ``faster``, ``slower`` or ``decides nothing``.
        reason: Why it decides nothing; empty where it decides.
        doubtful: Whether that is because a figure is not valid.
    """

    verdict: str
    reason: str = ""
    doubtful: bool = False


@dataclass(frozen=True)
class Comparison:
    """A contender beside the baseline of its group, by the time that one image takes.

    Attributes:
        interval: How many times the baseline's time it takes; None where there are too few rounds to say.
        noise: How far from 1 a ratio must lie to decide something, as :func:`noise_bound` has it.
    """

    baseline: Contender
    interval: Interval | None
    noise: float
    decision: Decision

    @property
    def verdict(self) -> str:
        """``faster``, ``slower`` or ``decides nothing``."""
        return self.decision.verdict


def noise_bound(control: Interval | None, ratio: Interval | None = None) -> float:
    """How far from 1 a ratio must lie to decide something: 0.02 leaves 1 / 1.02 to 1.02 undecided.

    A second process of a contender takes 1 times its time. All else that the control's interval [low, high] holds is
    noise, which another contender may have as well, and in the other direction. The bound is the least b for which
    1 / (1 + b) to 1 + b covers the interval: b = max(high, 1 / low) - 1, and at least :data:`SMALLEST_EFFECT`. The
    estimate alone is not enough: of a control of 1.01 [0.798, 1.04] it says 1 %, and the bound is 25 %.

    Without a control nothing has measured the noise. The ratio's own interval then stands in for the control's, moved
    to 1: a control would have rounds of the same kind, and an interval about as wide.

    Args:
        control: The control's ratio; None where none was timed.
        ratio: The ratio that is to be decided.
    """
    if control is not None:
        return max(SMALLEST_EFFECT, reach(control))
    if ratio is None:
        return SMALLEST_EFFECT
    return max(SMALLEST_EFFECT, ratio.high / ratio.estimate - 1)


def reach(interval: Interval) -> float:
    """How far from 1 it goes, as a share, upwards or by its inverse downwards."""
    return max(interval.high, 1 / interval.low) - 1


def decide(interval: Interval | None, noise: float, figures: Mapping[str, Judgement]) -> Decision:
    """What a ratio decides, and why nothing where it does not.

    Args:
        interval: The ratio; None where there are too few rounds.
        noise: As :func:`noise_bound` has it.
        figures: What the ratio was taken of, by the name that the reason calls each by.
    """
    doubtful = {name: figure.status for name, figure in figures.items() if figure.status != VALID}
    if doubtful:
        reason = " and ".join(f"{name} is {status}" for name, status in doubtful.items())
        if len(doubtful) > 1 and len(set(doubtful.values())) == 1:
            reason = f"both figures are {next(iter(doubtful.values()))}"
        return Decision(UNDECIDED, reason, doubtful=True)
    if interval is None:
        return Decision(UNDECIDED, TOO_FEW)
    found = verdict(interval, noise)
    within = f"its interval is not beyond the noise, {noise_in_words(noise)}"
    return Decision(found, within if found == UNDECIDED else "")


def noise_in_words(noise: float) -> str:
    """A noise bound as a share; beyond twice the time its size says no more."""
    return f"{noise:.1%}" if noise <= 1 else "over 100%"


def verdict(interval: Interval | None, noise: float) -> str:
    """``slower`` or ``faster`` where the whole interval lies beyond the noise, else ``decides nothing``."""
    if interval is None:
        return UNDECIDED
    if interval.low > 1 + noise:
        return SLOWER
    return FASTER if interval.high < 1 / (1 + noise) else UNDECIDED


def seconds_per_image(contender: Contender) -> list[list[float]]:
    """Samples round by round, each divided by the batch."""
    return [[sample / contender.batch for sample in each.samples_s] for each in contender.rounds]


class Group:
    """Contenders whose rounds were taken next to each other.

    Args:
        members: With the control and the yardstick.
        readings: That were taken meanwhile.
    """

    def __init__(self, members: Iterable[Contender], readings: Iterable[Reading]) -> None:
        everyone = list(members)
        self.contenders = [member for member in everyone if member.role == "contender"]
        self.readings = list(readings)
        self._by_role = {member.role: member for member in everyone}

    @property
    def yardstick(self) -> Contender | None:
        """The work that never changes."""
        return self._by_role.get("yardstick")

    @property
    def twin(self) -> Contender | None:
        """The control: a second process of one of the contenders."""
        return self._by_role.get("control")

    @cached_property
    def control(self) -> Interval | None:
        """A contender's second process over its first: 1 on a machine without noise; None where one was not timed."""
        twin = self.twin
        first = next((each for each in self.contenders if twin and f"{each.id}{CONTROL}" == twin.id), None)
        if twin is None or first is None or not (was_timed(twin) and was_timed(first)):
            return None
        return typical_ratio(paired(twin, first))

    @property
    def noise(self) -> float:
        """How far from 1 a ratio must lie to decide something, by the control alone."""
        return noise_bound(self.control)

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """What about the machine may have bent the figures."""
        return tuple(_conditions(self))

    def baseline(self, contender: Contender, name: str | None) -> Contender | None:
        """What a contender is held against: the one of a name (:func:`names`), in the contender's own engine where it
        ran in that; without a name the group's first that was timed."""
        if name is None:
            return next((each for each in self.contenders if was_timed(each)), None)
        named = [other for other in self.contenders if name in names(other)]
        alike = [
            o
            for o in named
            if (o.engine, o.precision, o.mode) == (contender.engine, contender.precision, contender.mode)
        ]
        return next(iter(alike or named), None)


def names(contender: Contender) -> tuple[str, ...]:
    """What a contender goes by as a baseline: its subject's name, which one engine or precision may narrow down."""
    name = contender.subject.name
    engine = f"{name}, {contender.engine}"
    return name, engine, f"{engine}, {contender.precision}"


def require_baseline(files: Iterable[Results], baseline: str | None) -> None:
    """Check that some file has a baseline.

    Raises:
        BadInput: None has a contender of that name.
    """
    everyone = [c for results in files for c in results.contenders if c.role == "contender"]
    if baseline is not None and not any(baseline in names(contender) for contender in everyone):
        known = ", ".join(dict.fromkeys(contender.subject.name for contender in everyone))
        raise BadInput(
            f"There is no {baseline!r} among the results.",
            f"Name one of {known}; 'NAME, ENGINE' or 'NAME, ENGINE, PRECISION' narrows it down.",
        )


def was_timed(contender: Contender) -> bool:
    """Whether it has samples of a right answer, and did not fail on the way."""
    is_wrong = contender.check is not None and contender.check.status == "different"
    return bool(contender.rounds) and contender.outcome == "measured" and not is_wrong


def paired(contender: Contender, baseline: Contender) -> Logs:
    """The logarithm of how many times the baseline's time an image took, in each round that both have.

    Rounds that were not taken next to each other are left out: the machine may have changed between them. They were
    taken so if both came after the round before and before the round after, of either.
    """
    ours, theirs = (
        {each.index: (each.started_s, samples) for each, samples in zip(c.rounds, seconds_per_image(c), strict=True)}
        for c in (contender, baseline)
    )
    order = sorted({*ours, *theirs})
    begun = [sorted(rounds[index][0] for rounds in (ours, theirs) if index in rounds) for index in order]
    ends = [[-math.inf], *begun, [math.inf]]
    beside = [
        index
        for index, before, both, after in zip(order, ends, begun, ends[2:], strict=False)
        if len(both) > 1 and before[-1] <= both[0] and both[-1] <= after[0]
    ]
    return log_ratios([ours[index][1] for index in beside], [theirs[index][1] for index in beside])


def groups(results: Results) -> dict[str, Group]:
    """The groups of a file by their names, in order."""
    members: dict[str, list[Contender]] = {}
    for contender in results.contenders:
        members.setdefault(contender.group, []).append(contender)
    begun = {
        name: min((each.started_s for contender in group for each in contender.rounds), default=math.inf)
        for name, group in members.items()
    }
    return {name: Group(group, _readings(results, begun[name], begun.values())) for name, group in members.items()}


def _readings(results: Results, begun: float, others: Iterable[float]) -> list[Reading]:
    """The last reading before a group's first round, and those from then on until the next group's."""
    end = min((other for other in others if other > begun), default=math.inf)
    before = [reading for reading in results.readings if reading.at_s < begun]
    return [*before[-1:], *(reading for reading in results.readings if begun <= reading.at_s < end)]


def judge(results: Results) -> dict[str, Judgement]:
    """How far each contender's figures can be believed, by its id."""
    found = {}
    for group in groups(results).values():
        for contender in group.contenders:
            found[contender.id] = _judge(contender, group, results.protocol)
    return found


def compare_with_baseline(results: Results, baseline: str | None = None) -> dict[str, Comparison]:
    """Each contender beside its baseline, by its id; what cannot be compared is left out.

    Args:
        baseline: As :func:`names` has it; without one, the first contender of each group that was timed.

    Raises:
        BadInput: The file has none of that name.
    """
    require_baseline([results], baseline)
    judgements, found = judge(results), {}
    for group in groups(results).values():
        for contender in group.contenders:
            other = group.baseline(contender, baseline)
            if other is None or other.id == contender.id or not (was_timed(contender) and was_timed(other)):
                continue
            interval = typical_ratio(paired(contender, other))
            noise = noise_bound(group.control, interval)
            figures = {"the baseline's figure": judgements[other.id], "its own figure": judgements[contender.id]}
            found[contender.id] = Comparison(other, interval, noise, decide(interval, noise, figures))
    return found


def _judge(contender: Contender, group: Group, protocol: Protocol) -> Judgement:
    if not contender.rounds:
        return Judgement(NOT_MEASURED, (contender.reason or contender.outcome,), None)
    summary = summarise(contender.samples)
    if contender.check is not None and contender.check.status == "different":
        return Judgement(INVALID, (f"its answers differ: {contender.check.against}",), summary)
    if not was_timed(contender):
        return Judgement(INVALID, (f"it failed on the way: {contender.reason}",), summary)
    reasons = [*group.conditions]
    if contender.check is None or contender.check.status == "not checked":
        reasons.append(f"its answers were not checked: {contender.check.against if contender.check else 'no record'}")
    if contender.reason:
        reasons.append(contender.reason)
    if len(contender.rounds) < protocol.rounds:
        reasons.append(f"{len(contender.rounds)} of {protocol.rounds} rounds were timed")
    if summary.count < _FEWEST_SAMPLES:
        reasons.append(f"it has {summary.count} samples")
    if len(summary.outliers) > _OUTLIERS * summary.count:
        reasons.append(f"{len(summary.outliers)} of {summary.count} samples are outliers")
    # Beside a yardstick the machine's speed is known; a phone tells of its heat late or never.
    slower = slowdown(contender.samples) if group.yardstick is None else None
    if slower is not None and slower > _SLOWDOWN:
        reasons.append(f"it took {slower:.2f} times as long at the end as at the beginning")
    return Judgement(SUSPECT if reasons else VALID, tuple(reasons), summary)


def _conditions(group: Group) -> Iterator[str]:
    control, twin = group.control, group.twin
    if control is not None and abs(control.estimate - 1) > _CONTROL_STRAYS:
        yield f"a second process of the same thing took {control.estimate:.2f} times as long"
    if twin is not None and not was_timed(twin):
        yield f"a second process of the same thing was not timed: {twin.reason or twin.outcome}"
    if group.yardstick is not None and len(group.yardstick.rounds) >= FEWEST_ROUNDS:
        medians = sorted(summarise(each.samples_s).median for each in group.yardstick.rounds)
        low, high = medians[len(medians) // 10], medians[-1 - len(medians) // 10]
        if high > _DRIFT * low:
            yield f"the machine's own speed varied by {high / low:.2f} meanwhile"
    during = [reading for reading in group.readings if reading.phase == "during"]
    for value, limit, words in (
        (_mean(reading.steal_share for reading in during), _STEAL, "of the processor's time was stolen by others"),
        (_mean(reading.others_share for reading in during), _OTHERS, "of a core went to other processes"),
    ):
        if value is not None and value > limit:
            yield f"{value:.0%} {words}"
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
