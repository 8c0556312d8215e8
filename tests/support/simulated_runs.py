"""Simulated runs with known ratios, on quiet and on noisy machines.

``python tests/support/simulated_runs.py 1000`` prints for each machine how often equal cases have a verdict, the
coverage of the intervals, and how often a case that is 5 % slower is detected.

All cases of a run share a baseline and a control, and a round goes over all of them in a random order, as a run of
``evim-deploy bench`` does. Each round has one sample, as with long predictions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from latency_files import make_case, make_results

from latency.compare import compare
from latency.decision import SMALLEST_EFFECT, Verdict, verdict
from latency.judgement import CONTROL_SUFFIX, CaseComparison, compare_with_baseline, groups
from latency.results import Case, ProtocolRecord, Results, Round
from latency.statistics import Interval

Logs = npt.NDArray[np.float64]
Machine = Callable[[np.random.Generator, int, int], Logs]
"""Draws the natural logarithms of each process's slowdown in each round, (processes, rounds), from a generator and the
numbers of processes and rounds."""

EQUAL = 4
"""Cases of a run besides the baseline."""

SLOWDOWN = 1.05
_TEMPLATE = make_case(rounds=1, samples=1, batch=1)


def _normal(random: np.random.Generator, scatter: float, processes: int, rounds: int) -> Logs:
    return random.normal(0, scatter, (processes, rounds))


def _bursts(random: np.random.Generator, share: float, size: float, processes: int, rounds: int) -> Logs:
    """The slowdown by bursts of other work in some of the rounds."""
    shape = (processes, rounds)
    return np.log1p(np.where(random.random(shape) < share, random.exponential(size, shape), 0))


def quiet(random: np.random.Generator, processes: int, rounds: int) -> Logs:
    """An idle machine: ratios of two processes scatter by 2.8 %, as in benchmarks/cpu-timm-256.json."""
    return _normal(random, 0.02, processes, rounds) + _bursts(random, 0.03, 0.2, processes, rounds)


def shared(random: np.random.Generator, processes: int, rounds: int) -> Logs:
    """A virtual machine on a shared host: ratios scatter by 5 %, with bursts, as in the first run of Table E."""
    return _normal(random, 0.036, processes, rounds) + _bursts(random, 0.05, 0.3, processes, rounds)


def drifting(random: np.random.Generator, processes: int, rounds: int) -> Logs:
    """A machine whose speed is a random walk over turns, with one large step."""
    steps = random.normal(0, 0.02, processes * rounds)
    steps[random.integers(processes * rounds)] += random.choice([-0.4, 0.4])
    return _in_turns(random, np.cumsum(steps), processes) + quiet(random, processes, rounds)


def heavy_tailed(random: np.random.Generator, processes: int, rounds: int) -> Logs:
    """A machine with delays of infinite variance (Pareto)."""
    return np.log1p(0.05 * random.pareto(1.2, (processes, rounds)))


def two_speeds(slow: float, turns: float) -> Machine:
    """A machine that is twice as slow in a share of all turns, for an average number of turns in a row."""

    def draw(random: np.random.Generator, processes: int, rounds: int) -> Logs:
        count = processes * rounds
        states = np.empty(count, bool)
        drawn, changes = random.random(count) < slow, random.random(count) < 1 / turns
        for turn in range(count):
            states[turn] = drawn[turn] if not turn or changes[turn] else states[turn - 1]
        return np.log(2) * _in_turns(random, states, processes) + _normal(random, 0.02, processes, rounds)

    return draw


def dependent(correlation: float) -> Machine:
    """Autocorrelated rounds of each process, with a deviation of 5 %, independent of other processes."""

    def draw(random: np.random.Generator, processes: int, rounds: int) -> Logs:
        found = _normal(random, 0.05, processes, rounds)
        for place in range(1, rounds):
            found[:, place] = correlation * found[:, place - 1] + np.sqrt(1 - correlation**2) * found[:, place]
        return found

    return draw


def apart(difference: float) -> Machine:
    """A quiet machine with a constant difference between processes; ``difference`` is its standard deviation."""

    def draw(random: np.random.Generator, processes: int, rounds: int) -> Logs:
        return quiet(random, processes, rounds) + random.normal(0, difference, (processes, 1))

    return draw


def _in_turns(random: np.random.Generator, over_time: npt.NDArray[np.generic], processes: int) -> Logs:
    """Distribute a machine's state over time to processes and rounds; each round has a random order of processes."""
    by_round = over_time.astype(np.float64).reshape(-1, processes)
    return random.permuted(by_round, axis=1).T


MACHINES: dict[str, Machine] = {
    "quiet": quiet,
    "shared": shared,
    "drifting": drifting,
    "heavy-tailed": heavy_tailed,
    "two speeds, half of the time": two_speeds(0.5, 1),
    "two speeds, for a third": two_speeds(0.3, 1),
    "two speeds, slow for 3 turns": two_speeds(0.3, 3),
    "two speeds, slow for 10 turns": two_speeds(0.2, 10),
    "dependent rounds, 0.5": dependent(0.5),
    "dependent rounds, 0.8": dependent(0.8),
    "processes 0.3 % apart": apart(0.003),
}

CASES = [
    (name, rounds)
    for name in MACHINES
    for rounds in (5, 10, 20, 60)
    if rounds >= 20 or name != "dependent rounds, 0.8"  # ten such rounds have the information of two independent ones
]
"""Machines and numbers of rounds to simulate."""


def simulate(seed: int, machine: Machine, rounds: int, slowdown: float = 1.0, calibration: bool = False) -> Results:
    """Simulate a run of a baseline, equal cases and a control; the last case is slower by a factor."""
    random = np.random.default_rng(seed)
    names = ["baseline", *(f"equal {number}" for number in range(1, EQUAL)), "last", f"baseline{CONTROL_SUFFIX}"]
    roles = [*["contender"] * (EQUAL + 1), "control"]
    if calibration:
        names, roles = [*names, "yardstick"], [*roles, "yardstick"]
    seconds = 0.1 * np.exp(machine(random, len(names), rounds))
    seconds[EQUAL] *= slowdown
    members = [_measured(*each) for each in zip(names, roles, seconds.tolist(), strict=True)]
    protocol = ProtocolRecord(name="robust", seconds=20, warmup_s=2, rounds=rounds, seed=0)
    return make_results(members, protocol=protocol, readings=[])


def _measured(name: str, role: str, seconds: list[float]) -> Case:
    rounds = [Round.model_construct(index=i, started_s=float(i), samples_s=[s]) for i, s in enumerate(seconds)]
    return _TEMPLATE.model_copy(update={"id": name, "role": role, "group": "simulated", "rounds": rounds})


def by_estimate(control: Interval | None) -> float:
    """The noise bound from the control's estimate alone."""
    return max(SMALLEST_EFFECT, abs(control.estimate - 1) if control else 0.0)


@dataclass
class Tally:
    """Counts of simulated runs on one machine.

    Attributes:
        announced: Runs in which any of the equal cases has a verdict.
        beyond: Runs in which any case exceeds the noise bound, also if its figures are suspect.
        by_estimate: Runs in which any case exceeds the bound that ignores the control's interval.
        covered: Intervals that contain 1, including the control's.
        intervals: All intervals.
    """

    runs: int = 0
    announced: int = 0
    beyond: int = 0
    by_estimate: int = 0
    covered: int = 0
    intervals: int = 0


def tally(machine: Machine, rounds: int, runs: int) -> Tally:
    """Simulate runs of equal cases and count their verdicts and intervals."""
    told = Tally()
    for seed in range(runs):
        equal = simulate(seed, machine, rounds)
        (group,) = groups(equal).values()
        compared = list(compare_with_baseline(equal).values())
        intervals = [each for each in (group.control, *(each.interval for each in compared)) if each]
        told.runs += 1
        told.announced += any(each.verdict != Verdict.UNDECIDED for each in compared)
        told.beyond += _any(compared, group.noise if group.control else None)
        told.by_estimate += _any(compared, by_estimate(group.control))
        told.covered += sum(each.low <= 1 <= each.high for each in intervals)
        told.intervals += len(intervals)
    return told


def found_slower(machine: Machine, rounds: int, runs: int) -> int:
    """Count the simulated runs in which a case that is 5 % slower has the verdict slower.

    The runs have a calibration workload, like every run on a CPU.
    """
    simulated = (simulate(seed, machine, rounds, SLOWDOWN, calibration=True) for seed in range(runs))
    return sum(compare_with_baseline(run)["last"].verdict == Verdict.SLOWER for run in simulated)


def _any(compared: list[CaseComparison], noise: float | None) -> bool:
    """Whether any comparison exceeds a bound, or its own noise if the bound is None."""
    return any(verdict(each.interval, each.noise if noise is None else noise) != Verdict.UNDECIDED for each in compared)


def compared_runs(machine: Machine, rounds: int, pairs: int, slowdown: float = 1.0) -> int:
    """Count the pairs of runs for which ``compare`` gives any verdict.

    The runs have the same cases at different times. With a slowdown, count the pairs whose last case is slower.
    """
    found = 0
    for pair in range(pairs):
        before = simulate(2 * pair, machine, rounds, calibration=True)
        after = simulate(2 * pair + 1, machine, rounds, slowdown, calibration=True)
        verdicts = {each.second.id: each.verdict for each in compare(before, after)}
        equal = any(each != Verdict.UNDECIDED for each in verdicts.values())
        found += equal if slowdown == 1 else verdicts["last"] == Verdict.SLOWER
    return found


def main(runs: int) -> None:
    columns = ("announced", "were none suspect", "by the estimate", "5 % found", "intervals hold 1", "compare")
    sys.stdout.write(f"Of {runs} runs with {EQUAL} equal cases:\n{'':40} {'  '.join(columns)}\n")
    for name, rounds in CASES:
        told = tally(MACHINES[name], rounds, runs)
        shares = (
            told.announced / runs,
            told.beyond / runs,
            told.by_estimate / runs,
            found_slower(MACHINES[name], rounds, runs) / runs,
            told.covered / told.intervals,
            2 * compared_runs(MACHINES[name], rounds, runs // 2) / runs,
        )
        cells = (f"{share:{len(column)}.1%}" for share, column in zip(shares, columns, strict=True))
        sys.stdout.write(f"{name:29} {rounds:3} rounds {'  '.join(cells)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
