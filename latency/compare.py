"""Two runs of the same thing on the same machine: is the second slower, and is that more than noise.

A machine is not equally fast on two days. Each run times a yardstick beside its contenders, work that never
changes: a contender's time is taken in units of the yardstick's, round by round, and these are compared.
Work of another kind than the yardstick's slows by other amounts, so what the yardstick itself moved between
the runs widens what counts as noise.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from evim_deploy.errors import BadInput
from latency.judgement import INVALID, NOT_MEASURED, Group, groups, judge, paired, seconds_per_image, verdict
from latency.results import Contender, Host, Results
from latency.statistics import Interval, Logs, log_ratios, ratio_of_ratios

_DRIFT_SHARE = 0.25
"""Of what the yardstick moved, how much may be noise in what is compared."""


@dataclass(frozen=True)
class Difference:
    """One contender in two runs.

    Attributes:
        interval: How many times the time of the first run the second takes; None with too few rounds.
        machine: How many times the yardstick's time of the first run the second took; None without one.
        noise: How far from 1 the ratio must lie to decide something.
        verdict: ``faster``, ``slower`` or ``decides nothing``.
        statuses: How far the figure of either run can be believed.
    """

    first: Contender
    second: Contender
    statuses: tuple[str, str]
    interval: Interval | None
    machine: float | None
    noise: float
    verdict: str


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
    status: str


def _timed(results: Results) -> dict[Hashable, _Timed]:
    """Contenders whose samples mean something, by what must be the same in two runs."""
    judged = judge(results)
    found = [_Timed(c, group, judged[c.id].status) for group in groups(results).values() for c in group.contenders]
    return {
        (timed.contender.id, timed.contender.height, timed.contender.width, timed.contender.batch): timed
        for timed in found
        if timed.status not in (NOT_MEASURED, INVALID)
    }


def _difference(a: _Timed, b: _Timed) -> Difference:
    first, before, second, after = a.contender, a.group, b.contender, b.group
    machine = _machine(before, after)
    yardsticks = (before.yardstick, after.yardstick) if machine is not None else (None, None)
    interval = ratio_of_ratios(_in_units(second, yardsticks[1]), _in_units(first, yardsticks[0]))
    moved = 0.0 if machine is None else abs(machine - 1)
    noise = max(before.noise, after.noise, _DRIFT_SHARE * moved)
    return Difference(first, second, (a.status, b.status), interval, machine, noise, verdict(interval, noise))


def _machine(before: Group, after: Group) -> float | None:
    """How many times the first run's yardstick the second's took."""
    if before.yardstick is None or after.yardstick is None:
        return None
    first, second = (np.median(group.samples) for group in (before.yardstick, after.yardstick))
    return float(second / first)


def _in_units(contender: Contender, yardstick: Contender | None) -> Logs:
    """The logarithm of a contender's rounds, in units of the yardstick's or in seconds."""
    if yardstick is not None:
        return paired(contender, yardstick)
    rounds = seconds_per_image(contender)
    return log_ratios(rounds, [[1.0]] * len(rounds))
