"""Statistics of samples: summaries, ratios, and confidence intervals.

Cases are timed in interleaved rounds, so that a slow phase of the machine affects all of them. The ratio of two cases
is computed within each round, and the spread over the rounds determines the width of its interval.

- The value of a round is the median of its samples: a short burst of other work hardly changes it.
- The ratio is the trimmed mean of the rounds' log ratios, a fifth trimmed at each end.
- Its interval is Student's t of that mean, with the error of a trimmed mean (Tukey and McLaughlin 1963; Yuen 1974),
  wider if successive rounds are correlated: see :class:`CentreEstimate`.

A bootstrap over single rounds assumes that they are independent. When a process was slow for several rounds in a row,
its 95 % interval covered the true value in 77 of 100 simulated runs (lag-one autocorrelation 0.5, 60 rounds), this
interval in 94: ``python tests/support/simulated_runs.py`` prints the coverage of each.
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
"""Samples round by round in the order of measurement, seconds."""

CONFIDENCE = 0.95
MIN_ROUNDS = 5
"""A ratio of fewer rounds has no interval."""

_TRIM_SHARE = 0.2
_MAX_CORRELATION = 0.95
_MIN_DEGREES = 2.0
_MAX_LOG = 700.0
"""Largest logarithm whose exponential and its inverse are finite in float64."""

_PARTS = 5
_OUTLIER = 3.5
"""Threshold of Iglewicz and Hoaglin's modified z-score: robust deviations above the median."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Summary statistics of samples, in their unit.

    Attributes:
        count: Number of samples.
        mean: Mean of the samples.
        median: Median of the samples.
        minimum: Smallest sample.
        p90: 90th percentile.
        p99: 99th percentile.
        deviation: Standard deviation; 0 for a single sample.
        outliers: Indices of the samples more than 3.5 robust deviations above the median. The other statistics include
            them.
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
    """An estimate and the bounds of its 95 % confidence interval."""

    estimate: float
    low: float
    high: float


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise samples.

    Raises:
        ValueError: There are no samples.
    """
    from scipy import stats

    x = np.asarray(samples, np.float64)
    if not x.size:
        raise ValueError("no samples")
    median = float(np.median(x))
    deviation = float(stats.median_abs_deviation(x, scale="normal"))
    p90, p99 = (float(value) for value in np.percentile(x, (90, 99)))
    outliers = np.flatnonzero(x - median > _OUTLIER * deviation) if deviation else ()
    return Summary(
        count=len(x),
        mean=float(x.mean()),
        median=median,
        minimum=float(x.min()),
        p90=p90,
        p99=p99,
        deviation=float(x.std(ddof=1)) if len(x) > 1 else 0.0,
        outliers=tuple(int(index) for index in outliers),
    )


def slowdown(samples: Sequence[float]) -> float | None:
    """The ratio of the last fifth of the samples to the first fifth, by their medians; None for fewer than 25."""
    fifth = len(samples) // _PARTS
    if fifth < _PARTS:
        return None
    return float(np.median(samples[-fifth:]) / np.median(samples[:fifth]))


def trimmed_mean(rounds: Rounds, dropped: int) -> float:
    """The mean over the rounds of their trimmed means.

    Apple's ModelBench reports it with 10 samples of 50 dropped at each end.

    Args:
        rounds: Samples round by round.
        dropped: Lowest and highest samples to drop from each round; a round with no more than twice as many samples is
            not trimmed.
    """
    return float(np.mean([np.mean(_without_extremes(samples, dropped)) for samples in rounds]))


def log_ratios(rounds: Rounds, baseline: Rounds) -> Logs:
    """The natural logarithm of the ratio to the baseline in each round, (rounds,).

    Round r of both was timed at about the same time.
    """
    return _log_medians(rounds) - _log_medians(baseline)


@dataclass(frozen=True)
class CentreEstimate:
    """The trimmed mean of rounds and its variance.

    The variance of a trimmed mean of n independent rounds, of which h remain, is that of the winsorised rounds times
    (n - 1) / (h (h - 1)), with h - 1 degrees of freedom (Yuen, Biometrika 61, 1974). Two effects make it larger here:

    - Correlated rounds have less information than independent ones. With lag-one autocorrelation r of a first-order
      process, n rounds are equivalent to n (1 - r) / (1 + r) independent ones, in error and in degrees of freedom. r is
      estimated from the winsorised rounds, corrected for the bias (1 + 3r) / n of few rounds (Marriott and Pope,
      Biometrika 41, 1954), and used if positive.
    - A fifth of fewer than ten rounds is one round at each end. On a machine with two speeds the rest are often equal
      by chance, with a variance of zero. The variance is then at least that of all rounds, with its degrees of freedom.

    Attributes:
        logs: One value per round in the order of measurement, (rounds,); at least :data:`MIN_ROUNDS`.
    """

    logs: Logs

    @cached_property
    def value(self) -> float:
        """The trimmed mean."""
        return float(np.sort(self.logs)[self._cut : len(self.logs) - self._cut].mean())

    @cached_property
    def variance(self) -> float:
        """The variance of the trimmed mean."""
        rounds, left = len(self.logs), self._left
        variance = float(np.var(self._winsorised, ddof=1)) * (rounds - 1) / (left * (left - 1))
        if self._few:
            variance = max(variance, float(np.var(self.logs, ddof=1)) / rounds)
        return variance * self.variance_inflation

    @property
    def degrees_of_freedom(self) -> float:
        """The degrees of freedom of the variance."""
        return len(self.logs) - 1.0 if self._few else max(_MIN_DEGREES, self._left / self.variance_inflation - 1)

    @property
    def _few(self) -> bool:
        """Whether trimming drops at most one round at each end."""
        return self._cut <= 1

    @property
    def _cut(self) -> int:
        """Number of rounds that trimming drops at each end."""
        return int(_TRIM_SHARE * len(self.logs))

    @property
    def _left(self) -> int:
        """Number of rounds that remain."""
        return len(self.logs) - 2 * self._cut

    @cached_property
    def _winsorised(self) -> Logs:
        """The rounds, with the trimmed ones moved to the nearest remaining value."""
        ordered = np.sort(self.logs)
        return np.clip(self.logs, ordered[self._cut], ordered[-1 - self._cut])

    @cached_property
    def variance_inflation(self) -> float:
        """The number of rounds equivalent to one independent round, 1 or more."""
        centred = self._winsorised - self._winsorised.mean()
        squares = float(centred @ centred)
        if not squares:
            return 1.0
        measured = float(centred[1:] @ centred[:-1]) / squares
        correlation = min(max(0.0, measured + (1 + 3 * measured) / len(self.logs)), _MAX_CORRELATION)
        return (1 + correlation) / (1 - correlation)


def typical_ratio(logs: Logs) -> Interval | None:
    """The ratio of rounds of :func:`log_ratios` with its interval; None for fewer than :data:`MIN_ROUNDS`."""
    if len(logs) < MIN_ROUNDS:
        return None
    centre = CentreEstimate(logs)
    return _interval(centre.value, centre.variance, centre.degrees_of_freedom)


def ratio_of_ratios(logs: Logs, baseline: Logs) -> Interval | None:
    """The ratio of two ratios whose rounds were timed at different times; None for fewer than :data:`MIN_ROUNDS`.

    The degrees of freedom are Welch's (Biometrika 34, 1947).
    """
    if min(len(logs), len(baseline)) < MIN_ROUNDS:
        return None
    centres = CentreEstimate(logs), CentreEstimate(baseline)
    variance = sum(centre.variance for centre in centres)
    spread = sum(centre.variance**2 / centre.degrees_of_freedom for centre in centres)
    return _interval(centres[0].value - centres[1].value, variance, variance**2 / spread if spread else 1.0)


def growth_exponent(pixels: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The exponent k of seconds ~ pixels**k, fitted on logarithmic axes; None for fewer than three sizes."""
    from scipy import stats

    if len(set(pixels)) < 3:
        return None
    return float(stats.linregress(np.log(pixels), np.log(seconds)).slope)


def _without_extremes(samples: Sequence[float], dropped: int) -> Sequence[float]:
    return sorted(samples)[dropped : len(samples) - dropped] if len(samples) > 2 * dropped else samples


def _log_medians(rounds: Rounds) -> Logs:
    return np.log([median(samples) for samples in rounds])


def _interval(centre: float, variance: float, degrees_of_freedom: float) -> Interval:
    """Student's interval of a logarithm, as a ratio."""
    from scipy import stats

    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom)) * math.sqrt(variance)
    bounds = np.clip((centre, centre - half_width, centre + half_width), -_MAX_LOG, _MAX_LOG)
    return Interval(*(math.exp(bound) for bound in bounds))
