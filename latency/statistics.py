"""What samples say, and how far they can be believed.

Contenders are timed round by round, so what slows a machine for a while slows all of them: the ratio of
two contenders is taken within each round, and how much the rounds disagree tells how far it is known.

- A round is told by the median of its samples: a burst of somebody else's work moves it little.
- The ratio is the trimmed mean of the rounds' log ratios, a fifth off each end.
- Its interval is Student's t of that mean, with the error of a trimmed mean (Tukey and McLaughlin 1963; Yuen 1974),
  widened where successive rounds resemble each other: see :class:`Centre`.

A bootstrap over single rounds takes them for independent. Where a process was slow for several rounds on end, such
an interval of 95 % held the truth in 77 of 100 simulated runs (lag-one autocorrelation 0.5, 60 rounds), this one in 94:
``python tests/support/simulated_runs.py`` prints what each interval covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np
import numpy.typing as npt

Logs = npt.NDArray[np.float64]
Rounds = Sequence[Sequence[float]]
"""Samples in seconds, round by round, in the order in which they were taken."""

CONFIDENCE = 0.95
FEWEST_ROUNDS = 5
"""Below them nothing is said about a ratio."""

_TRIMMED = 0.2
_MOST_DEPENDENT = 0.95
_LEAST_FREEDOM = 2.0
_LARGEST_LOG = 700.0
"""float64 holds its exponential and the inverse of that."""

_PARTS = 5
_OUTLIER = 3.5
"""Robust deviations above the median: Iglewicz and Hoaglin's modified z-score."""


@dataclass(frozen=True)
class Summary:
    """Samples in a few numbers, in their own unit.

    Attributes:
        deviation: Their standard deviation; 0 of a single one.
        outliers: Where the samples stand that lie more than 3.5 robust deviations above the median; they are
            counted in everything else.
    """

    count: int
    mean: float
    median: float
    minimum: float
    p90: float
    p99: float
    deviation: float
    outliers: tuple[int, ...]


@dataclass(frozen=True)
class Interval:
    """An estimate, and the bounds that hold the true value in 95 of 100 runs."""

    estimate: float
    low: float
    high: float


def summarise(samples: Sequence[float]) -> Summary:
    """The samples in a few numbers.

    Raises:
        ValueError: There are none.
    """
    from scipy import stats

    x = np.asarray(samples, np.float64)
    if not x.size:
        raise ValueError("no samples")
    median = float(np.median(x))
    deviation = float(stats.median_abs_deviation(x, scale="normal"))
    p90, p99 = (float(value) for value in np.percentile(x, (90, 99)))
    return Summary(
        len(x),
        float(x.mean()),
        median,
        float(x.min()),
        p90,
        p99,
        float(x.std(ddof=1)) if len(x) > 1 else 0.0,
        tuple(int(place) for place in np.flatnonzero(x - median > _OUTLIER * deviation)) if deviation else (),
    )


def slowdown(samples: Sequence[float]) -> float | None:
    """How many times the first fifth of the samples the last fifth takes, by their medians; None below 25 samples."""
    fifth = len(samples) // _PARTS
    if fifth < _PARTS:
        return None
    return float(np.median(samples[-fifth:]) / np.median(samples[:fifth]))


def trimmed_mean(rounds: Rounds, dropped: int) -> float:
    """The mean over the rounds of their means without so many of their lowest and highest samples.

    With 10 dropped of 50 it is what Apple's ModelBench reports. A round that has no more than twice as many
    samples loses none.
    """
    return float(np.mean([np.mean(_without_extremes(samples, dropped)) for samples in rounds]))


def log_ratios(rounds: Rounds, baseline: Rounds) -> Logs:
    """The natural logarithm of how many times the baseline's time each round took, (rounds,).

    Round r of both was taken next to each other.
    """
    return _log_medians(rounds) - _log_medians(baseline)


@dataclass(frozen=True)
class Centre:
    """The typical value of rounds, and how far it is known.

    The variance of a trimmed mean of n independent rounds, of which h are left, is that of the winsorised rounds times
    (n - 1) / (h (h - 1)), with h - 1 degrees of freedom (Yuen, Biometrika 61, 1974). Two things make it larger here:

    - Rounds that resemble the one before say less than independent ones. With lag-one autocorrelation r, n of them say
      as much as n (1 - r) / (1 + r), for a first-order process, in error and in degrees of freedom. r is that of the
      winsorised rounds, without the bias of few rounds, (1 + 3r) / n (Marriott and Pope, Biometrika 41, 1954), and
      counts where it is positive.
    - A fifth of fewer than ten rounds is one round at each end. On a machine with two speeds the rest are often equal
      by chance, and their variance nothing: it is then at least that of all rounds, with its degrees of freedom.

    Attributes:
        logs: One value a round, in the order in which they were taken, (rounds,); :data:`FEWEST_ROUNDS` or more.
    """

    logs: Logs

    @cached_property
    def value(self) -> float:
        """The trimmed mean."""
        return float(np.sort(self.logs)[self._cut : len(self.logs) - self._cut].mean())

    @cached_property
    def variance(self) -> float:
        """Of the trimmed mean."""
        rounds, left = len(self.logs), self._left
        variance = float(np.var(self._winsorised, ddof=1)) * (rounds - 1) / (left * (left - 1))
        if self._few:
            variance = max(variance, float(np.var(self.logs, ddof=1)) / rounds)
        return variance * self.rounds_as_one

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance."""
        return len(self.logs) - 1.0 if self._few else max(_LEAST_FREEDOM, self._left / self.rounds_as_one - 1)

    @property
    def _few(self) -> bool:
        """Whether trimming drops one round at each end or none."""
        return self._cut <= 1

    @property
    def _cut(self) -> int:
        """Rounds that trimming drops at each end."""
        return int(_TRIMMED * len(self.logs))

    @property
    def _left(self) -> int:
        """Rounds that it leaves."""
        return len(self.logs) - 2 * self._cut

    @cached_property
    def _winsorised(self) -> Logs:
        """The rounds, those that trimming drops moved to the nearest that it leaves."""
        ordered = np.sort(self.logs)
        return np.clip(self.logs, ordered[self._cut], ordered[-1 - self._cut])

    @cached_property
    def rounds_as_one(self) -> float:
        """How many rounds say as much as one independent round, 1 or more."""
        around = self._winsorised - self._winsorised.mean()
        spread = float(around @ around)
        if not spread:
            return 1.0
        measured = float(around[1:] @ around[:-1]) / spread
        known = min(max(0.0, measured + (1 + 3 * measured) / len(self.logs)), _MOST_DEPENDENT)
        return (1 + known) / (1 - known)


def typical_ratio(logs: Logs) -> Interval | None:
    """What rounds of :func:`log_ratios` come to, as a ratio; None where there are too few to say."""
    if len(logs) < FEWEST_ROUNDS:
        return None
    centre = Centre(logs)
    return _interval(centre.value, centre.variance, centre.freedom)


def ratio_of_ratios(logs: Logs, baseline: Logs) -> Interval | None:
    """How many times the baseline's ratio another one is, their rounds taken at different times; None where there are
    too few to say.

    The degrees of freedom are Welch's (Biometrika 34, 1947).
    """
    if min(len(logs), len(baseline)) < FEWEST_ROUNDS:
        return None
    centres = Centre(logs), Centre(baseline)
    variance = sum(centre.variance for centre in centres)
    spread = sum(centre.variance**2 / centre.freedom for centre in centres)
    return _interval(centres[0].value - centres[1].value, variance, variance**2 / spread if spread else 1.0)


def growth(pixels: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The exponent k of cost ~ pixels**k, fitted on log axes; None for fewer than three sizes."""
    from scipy import stats

    if len(set(pixels)) < 3:
        return None
    return float(stats.linregress(np.log(pixels), np.log(seconds)).slope)


def _without_extremes(samples: Sequence[float], dropped: int) -> Sequence[float]:
    return sorted(samples)[dropped : len(samples) - dropped] if len(samples) > 2 * dropped else samples


def _log_medians(rounds: Rounds) -> Logs:
    return np.log([median(samples) for samples in rounds])


def _interval(centre: float, variance: float, freedom: float) -> Interval:
    """Student's interval of a logarithm, as ratios."""
    from scipy import stats

    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    bounds = np.clip((centre, centre - reach, centre + reach), -_LARGEST_LOG, _LARGEST_LOG)
    return Interval(*(math.exp(bound) for bound in bounds))
