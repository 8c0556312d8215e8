"""Two runs of the same thing on the same machine: is the second slower, and is that more than noise.

A machine is not equally fast on two days. Each run times a yardstick beside its contenders, work that never
changes: a contender's time is taken in units of the yardstick's, round by round, and these are compared.
Work of another kind than the yardstick's slows by other amounts, so what the yardstick itself may have moved between
the runs, its interval included, widens what counts as noise. Without a yardstick in both runs times are compared as
they are: nothing tells then whether the machine was slower.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from evim_deploy.common.errors import BadInput
from latency.judgement import (
    INVALID,
    NOT_MEASURED,
    Decision,
    Group,
    Judgement,
    decide,
    groups,
    judge,
    noise_bound,
    paired,
    reach,
    seconds_per_image,
)
from latency.results import Contender, Host, Results
from latency.statistics import Interval, Logs, log_ratios, ratio_of_ratios

_DRIFT_SHARE = 0.25
"""Of what the yardstick moved, how much may be noise in what is compared."""


@dataclass(frozen=True)
class Difference:
    """One contender in two runs.

    Attributes:
        interval: How many times the time of the first run the second takes; None with too few rounds.
        yardstick: How many times the yardstick's time of the first run the second took; None without one in both.
        noise: How far from 1 the ratio must lie to decide something.
        judgements: How far the figure of either run can be believed.
    """

    first: Contender
    second: Contender
    judgements: tuple[Judgement, Judgement]
    interval: Interval | None
    yardstick: Interval | None
    noise: float
    decision: Decision

    @property
    def verdict(self) -> str:
        """``faster``, ``slower`` or ``decides nothing``."""
        return self.decision.verdict

    @property
    def statuses(self) -> tuple[str, str]:
        """The status of either figure."""
        first, second = self.judgements
        return first.status, second.status

    @property
    def machine(self) -> float | None:
        """The estimate of how many times as slow the machine was in the second run."""
        return self.yardstick.estimate if self.yardstick else None


def compare(first: Results, second: Results) -> list[Difference]:
    """What both runs timed, in the order of the second.

    Raises:
        BadInput: They come from different machines or protocols, or have nothing in common.
    """
    ways = [results.protocol.name for results in (first, second)]
    if len(set(ways)) > 1:
        raise BadInput(
            f"The first was measured by the protocol {ways[0]}, the second by {ways[1]}.", "Use one for both."
        )
    differing = [f"{name}: {a!r} and {b!r}" for name, a, b in _hosts(first.host, second.host) if a != b]
    if differing:
        raise BadInput(
            f"The two files come from different machines ({'; '.join(differing)}).",
            "Compare runs of one machine; `evim-deploy report A.json B.json` shows several side by side.",
        )
    before, after = (_timed(results) for results in (first, second))
    found = [_difference(before[key], after[key]) for key in after if key in before]
    if not found:
        raise BadInput(
            "The two files have no contender in common that was timed in both.",
            "Run both with the same command: model, engine, precision, threads, size and batch must be the same.",
        )
    return found


def _hosts(a: Host, b: Host) -> Sequence[tuple[str, object, object]]:
    names = ("machine", "processor", "cores", "accelerator")
    return [(name, getattr(a, name), getattr(b, name)) for name in names]


@dataclass(frozen=True)
class _Timed:
    contender: Contender
    group: Group
    judgement: Judgement


def _timed(results: Results) -> dict[Hashable, _Timed]:
    """Contenders whose samples mean something, by what must be the same in two runs."""
    judged = judge(results)
    found = [_Timed(c, group, judged[c.id]) for group in groups(results).values() for c in group.contenders]
    return {
        (timed.contender.id, timed.contender.height, timed.contender.width, timed.contender.batch): timed
        for timed in found
        if timed.judgement.status not in (NOT_MEASURED, INVALID)
    }


def _difference(a: _Timed, b: _Timed) -> Difference:
    first, second = a.contender, b.contender
    units = a.group.yardstick, b.group.yardstick
    if not (units[0] and units[1] and units[0].rounds and units[1].rounds):
        units = None, None
    interval = ratio_of_ratios(_in_units(second, units[1]), _in_units(first, units[0]))
    moved = ratio_of_ratios(_in_seconds(units[1]), _in_seconds(units[0])) if units[0] and units[1] else None
    noise = max(
        noise_bound(a.group.control, interval),
        noise_bound(b.group.control, interval),
        _DRIFT_SHARE * reach(moved) if moved else 0.0,
    )
    decision = decide(interval, noise, {"the figure in A": a.judgement, "the figure in B": b.judgement})
    return Difference(first, second, (a.judgement, b.judgement), interval, moved, noise, decision)


def _in_units(contender: Contender, yardstick: Contender | None) -> Logs:
    """The logarithm of a contender's rounds, in units of the yardstick's or in seconds."""
    return paired(contender, yardstick) if yardstick is not None else _in_seconds(contender)


def _in_seconds(contender: Contender) -> Logs:
    """The logarithm of a contender's rounds, seconds of an image."""
    rounds = seconds_per_image(contender)
    return log_ratios(rounds, [[1.0]] * len(rounds))
