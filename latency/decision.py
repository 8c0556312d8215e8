"""The decision whether a case is faster or slower than another.

:func:`decide` is the only place where a ratio becomes a verdict: of two valid figures, and only if the whole interval
lies beyond the noise (:func:`noise_bound`), which a control measures, a second process of the same case.

Fewer than 1 of 100 simulated runs of four equal cases have a verdict for any of them (``python
tests/support/simulated_runs.py``). Two kinds of noise are not covered and lead to more false verdicts: processes that
differ for their whole life, by the placement of their memory, with a standard deviation of 0.5 % or more on an
otherwise quiet machine, since a control is a single sample of it (none of the controls in benchmarks/ shows such a
difference); and fewer than twenty rounds with an autocorrelation of 0.8 or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from latency.statistics import Interval, Summary

TOO_FEW = "too few rounds next to each other to say how far the ratio is known"

SMALLEST_EFFECT = 0.01
"""A ratio that differs less from 1 is not a difference."""


class Validity(StrEnum):
    """The reliability of a figure: a suspect one may be distorted, an invalid one is meaningless."""

    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"
    NOT_MEASURED = "not measured"


class Verdict(StrEnum):
    """The verdict on a ratio."""

    FASTER = "faster"
    SLOWER = "slower"
    UNDECIDED = "decides nothing"


@dataclass(frozen=True)
class Judgement:
    """The reliability of a case's figures.

    Attributes:
        status: Validity of the figures.
        reasons: Reasons why they are not valid, in words.
        summary: Statistics of the time of one prediction of its batch, seconds; None without samples.
    """

    status: Validity
    reasons: tuple[str, ...]
    summary: Summary | None


@dataclass(frozen=True)
class Decision:
    """The verdict on a ratio with its reason.

    Attributes:
        verdict: The verdict.
        reason: Reason why it is undecided; otherwise empty.
        doubtful: Whether the reason is a figure that is not valid.
    """

    verdict: Verdict
    reason: str = ""
    doubtful: bool = False


def noise_bound(control: Interval | None, ratio: Interval | None = None) -> float:
    """The smallest difference from 1 that a ratio must exceed for a verdict: 0.02 leaves 1 / 1.02 to 1.02 undecided.

    The true ratio of a control is 1. Everything else in its interval [low, high] is noise, which another case may have
    as well, in the other direction. The bound is the least b for which 1 / (1 + b) to 1 + b covers the interval: b =
    max(high, 1 / low) - 1, and at least :data:`SMALLEST_EFFECT`. The estimate alone is not enough: for a control of
    1.01 [0.798, 1.04] it suggests 1 %, and the bound is 25 %.

    Without a control the noise was not measured. The ratio's own interval, moved to 1, then replaces the control's: a
    control would have rounds of the same kind, and an interval of similar width.

    Args:
        control: The control's ratio; None if none was timed.
        ratio: The ratio to decide.
    """
    if control is not None:
        return max(SMALLEST_EFFECT, largest_deviation(control))
    if ratio is None:
        return SMALLEST_EFFECT
    return max(SMALLEST_EFFECT, ratio.high / ratio.estimate - 1)


def largest_deviation(interval: Interval) -> float:
    """The largest difference of an interval from 1, as a share, upwards or by its inverse downwards."""
    return max(interval.high, 1 / interval.low) - 1


def decide(interval: Interval | None, noise: float, figures: Mapping[str, Judgement]) -> Decision:
    """Decide on a ratio.

    Args:
        interval: The ratio; None if there are too few rounds.
        noise: Result of :func:`noise_bound`.
        figures: Judgements of the two figures, by their names in the reason.
    """
    doubtful = {name: figure.status for name, figure in figures.items() if figure.status != Validity.VALID}
    if doubtful:
        reason = " and ".join(f"{name} is {status}" for name, status in doubtful.items())
        if len(doubtful) > 1 and len(set(doubtful.values())) == 1:
            reason = f"both figures are {next(iter(doubtful.values()))}"
        return Decision(Verdict.UNDECIDED, reason, doubtful=True)
    if interval is None:
        return Decision(Verdict.UNDECIDED, TOO_FEW)
    result = verdict(interval, noise)
    within = f"its interval is not beyond the noise, {format_noise(noise)}"
    return Decision(result, within if result == Verdict.UNDECIDED else "")


def format_noise(noise: float) -> str:
    """Format a noise bound as a percentage; above 100 % the value is meaningless."""
    return f"{noise:.1%}" if noise <= 1 else "over 100%"


def verdict(interval: Interval | None, noise: float) -> Verdict:
    """``slower`` or ``faster`` if the whole interval lies beyond the noise, otherwise undecided."""
    if interval is None:
        return Verdict.UNDECIDED
    if interval.low > 1 + noise:
        return Verdict.SLOWER
    return Verdict.FASTER if interval.high < 1 / (1 + noise) else Verdict.UNDECIDED
