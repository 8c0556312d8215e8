"""What samples say, and how far they can be believed.

Contenders are timed round by round, so what slows a machine for a while slows all of them: the ratio of
two contenders is taken within each round, and how much the rounds disagree tells how far it is known.

- A round is told by the median of its samples: a burst of somebody else's work moves it little.
- The ratio is the trimmed mean of the rounds' log ratios, a fifth off each end.
- Its interval is a percentile bootstrap over the rounds (scipy), expanded for few rounds as in Hesterberg,
  "What Teachers Should Know About the Bootstrap" (2015), section 4.3: the plain one covers too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Logs = npt.NDArray[np.float64]
Rounds = Sequence[Sequence[float]]
"""Samples in seconds, round by round, in the order in which they were taken."""

CONFIDENCE = 0.95
FEWEST_ROUNDS = 5
"""Below them nothing is said about a ratio."""

_TRIMMED = 0.2
_RESAMPLES = 2000
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


def typical_ratio(logs: Logs, seed: int = 0) -> Interval | None:
    """What rounds of :func:`log_ratios` come to, as a ratio; None where there are too few to say."""
    from scipy import stats

    if len(logs) < FEWEST_ROUNDS:
        return None
    return _as_ratio(
        _centre(logs),
        stats.bootstrap((logs,), _centre, **_how(len(logs), seed)).confidence_interval,
    )


def ratio_of_ratios(logs: Logs, baseline: Logs, seed: int = 0) -> Interval | None:
    """How many times the baseline's ratio another one is, their rounds taken at different times."""
    from scipy import stats

    count = min(len(logs), len(baseline))
    if count < FEWEST_ROUNDS:
        return None

    def difference(a: Logs, b: Logs, axis: int = -1) -> Logs:
        return _centre(a, axis) - _centre(b, axis)

    found = stats.bootstrap((logs, baseline), difference, **_how(count, seed))
    return _as_ratio(difference(logs, baseline), found.confidence_interval)


def growth(pixels: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The exponent k of cost ~ pixels**k, fitted on log axes; None for fewer than three sizes."""
    from scipy import stats

    if len(set(pixels)) < 3:
        return None
    return float(stats.linregress(np.log(pixels), np.log(seconds)).slope)


def _without_extremes(samples: Sequence[float], dropped: int) -> Sequence[float]:
    return sorted(samples)[dropped : len(samples) - dropped] if len(samples) > 2 * dropped else samples


def _log_medians(rounds: Rounds) -> Logs:
    return np.log([np.median(samples) for samples in rounds])


def _centre(logs: Logs, axis: int = -1) -> Logs:
    from scipy import stats

    return np.asarray(stats.trim_mean(logs, _TRIMMED, axis=axis))


def _how(rounds: int, seed: int) -> dict[str, object]:
    """How to bootstrap so many rounds."""
    from scipy import stats

    reach = math.sqrt(rounds / (rounds - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, rounds - 1)
    return {
        "method": "percentile",
        "n_resamples": _RESAMPLES,
        "confidence_level": 1 - 2 * stats.norm.sf(reach),
        "vectorized": True,
        "rng": np.random.default_rng(seed),
    }


def _as_ratio(centre: Logs, bounds: tuple[float, float]) -> Interval:
    low, high = bounds
    return Interval(math.exp(float(centre)), math.exp(low), math.exp(high))
