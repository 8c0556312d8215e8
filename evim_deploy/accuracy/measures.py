"""What counts of right answers say, and how far they can be believed.

- One artifact's accuracy has the score interval of Wilson, "Probable Inference, the Law of Succession, and Statistical
  Inference" (1927): it keeps within 0 and 1, and is no point where every answer is right.
- Two accuracies over the same images are not independent: what counts is the images that only one of the two gets
  right, as in McNemar's test. The interval of their difference is Agresti and Min's, "Simple improved confidence
  intervals for comparing matched proportions" (2005): the plain one with half an image more in each of the four cells.
- Calibration is the expected calibration error of Guo et al., "On Calibration of Modern Neural Networks" (2017): 15
  bins of equal width by the probability of the likeliest class, and how far that is off on average.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
BINS = 15

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

Bounds = tuple[float, float]


def share_interval(right: int, count: int) -> Bounds:
    """Between what a share of ``right`` in ``count`` images lies, in 95 of 100 samples of so many images."""
    share, spread = right / count, _Z**2 / count
    centre = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    # at the ends the bound is the end itself, which rounding would miss
    low = 0.0 if right == 0 else (centre - reach) / (1 + spread)
    high = 1.0 if right == count else (centre + reach) / (1 + spread)
    return low, high


def difference_interval(gained: int, lost: int, count: int) -> Bounds:
    """Between what the difference of two shares over the same ``count`` images lies.

    Args:
        gained: Images that the first alone gets right.
        lost: Images that the second alone gets right.
        count: All images.
    """
    total = count + 2
    difference = (gained - lost) / total
    reach = _Z * math.sqrt((gained + lost + 1) / total - difference**2) / math.sqrt(total)
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """How far the probability of the likeliest class is from the share of right answers, on average: 0 to 1.

    Args:
        confidence: That probability of each image, (N,); a bin holds its upper bound.
        right: Whether that class is the image's, (N,).
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
