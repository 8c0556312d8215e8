"""Two runs of the same thing on the same machine: is the second slower, and is that more than noise.

A machine is not equally fast on two days. Each run times a yardstick beside its contenders, work that never
changes: a contender's time is taken in units of the yardstick's, round by round, and these are compared.
Work of another kind than the yardstick's slows by other amounts, so what the yardstick itself moved between
the runs widens what counts as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evim_deploy.errors import BadInput
from latency.judgement import INVALID, NOT_MEASURED, Group, groups, judge, seconds_per_image, verdict
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
    """

    first: Contender
    second: Contender
    interval: Interval | None
    machine: float | None
    noise: float
    verdict: str


def compare(first: Results, second: Results) -> list[Difference]:
    """What both runs timed, in the order of the second.

    Raises:
        BadInput: They come from different machines, or have nothing in common.
    """
    differing = [f"{name}: {a!r} and {b!r}" for name, a, b in _hosts(first.host, second.host) if a != b]
    if differing:
        raise BadInput(
            f"The two files come from different machines ({'; '.join(differing)}).",
            "Compare runs of one machine; `evim-deploy report A.json B.json` shows several side by side.",
        )
    before, after = (_timed(results) for results in (first, second))
    found = [_difference(*before[id_], *after[id_]) for id_ in after if id_ in before]
    if not found:
        raise BadInput(
            "The two files have no contender in common that was timed in both.",
            "Run both with the same command: model, engine, precision, threads, size and batch must be the same.",
        )
    return found


def _hosts(a: Host, b: Host) -> Sequence[tuple[str, object, object]]:
    names = ("machine", "processor", "cores", "accelerator")
    return [(name, getattr(a, name), getattr(b, name)) for name in names]


def _timed(results: Results) -> dict[str, tuple[Contender, Group]]:
    """Contenders that have valid samples by their ids, each with its group."""
    statuses = judge(results)
    return {
        contender.id: (contender, group)
        for group in groups(results).values()
        for contender in group.contenders
        if statuses[contender.id].status not in (NOT_MEASURED, INVALID)
    }


def _difference(first: Contender, before: Group, second: Contender, after: Group) -> Difference:
    machine = _machine(before, after)
    yardsticks = (before.yardstick, after.yardstick) if machine is not None else (None, None)
    interval = ratio_of_ratios(_in_units(second, yardsticks[1]), _in_units(first, yardsticks[0]))
    moved = 0.0 if machine is None else abs(machine - 1)
    noise = max(before.noise, after.noise, _DRIFT_SHARE * moved)
    return Difference(first, second, interval, machine, noise, verdict(interval, noise))


def _machine(before: Group, after: Group) -> float | None:
    """How many times the first run's yardstick the second's took."""
    if before.yardstick is None or after.yardstick is None:
        return None
    first, second = (np.median(group.samples) for group in (before.yardstick, after.yardstick))
    return float(second / first)


def _in_units(contender: Contender, yardstick: Contender | None) -> Logs:
    """The logarithm of a contender's rounds, in units of the yardstick's or in seconds."""
    rounds = seconds_per_image(contender)
    return log_ratios(rounds, [each.samples_s for each in yardstick.rounds] if yardstick else [[1.0]] * len(rounds))
