"""Statistics of counts of correct predictions: confidence intervals and calibration.

- One artifact's accuracy has the score interval of Wilson, "Probable Inference, the Law of Succession, and Statistical
  Inference" (1927): it stays within 0 and 1, and has a positive width even if every prediction is correct.
- Two accuracies over the same images are not independent: the images that only one of the two classifies correctly
  count, as in McNemar's test. The interval of their difference is Agresti and Min's, "Simple improved confidence
  intervals for comparing matched proportions" (2005): the plain one with half an image more in each of the four cells.
- Calibration is the expected calibration error of Guo et al., "On Calibration of Modern Neural Networks" (2017): 15
  bins of equal width by the probability of the likeliest class, and its mean distance from the accuracy.
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
    """The 95 % confidence interval of a share of ``right`` in ``count`` images."""
    share, spread = right / count, _Z**2 / count
    centre = share + spread / 2
    reach = math.sqrt(spread * (share * (1 - share) + spread / 4))
    # at the ends the bound is the end itself, which rounding would miss
    low = 0.0 if right == 0 else (centre - reach) / (1 + spread)
    high = 1.0 if right == count else (centre + reach) / (1 + spread)
    return low, high


def difference_interval(gained: int, lost: int, count: int) -> Bounds:
    """The 95 % confidence interval of the difference of two shares over the same images.

    Args:
        gained: Number of images that only the first classifies correctly.
        lost: Number of images that only the second classifies correctly.
        count: Number of all images.
    """
    total = count + 2
    difference = (gained - lost) / total
    reach = _Z * math.sqrt((gained + lost + 1) / total - difference**2) / math.sqrt(total)
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """The expected calibration error, 0 to 1.

    Args:
        confidence: Probability of each image's likeliest class, (N,); a bin includes its upper bound.
        right: Whether that class is correct, (N,).
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
