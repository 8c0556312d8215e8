"""The accuracy of a classifier's predictions, and their agreement with the source model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.measures import Bounds, calibration_error, difference_interval, share_interval
from evim_deploy.accuracy.predictions import NO_CLASS, Predictions

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy of one classifier; shares are between 0 and 1.

    Attributes:
        count: Number of classified images.
        top1: Top-1 accuracy.
        interval: The 95 % confidence interval of ``top1``.
        top5: Top-5 accuracy.
        calibration_error: The expected calibration error.
        not_finite: Number of predictions with an infinity or NaN, which count as wrong.
        images_per_second: Throughput of the engine, without decoding of the images.
    """

    count: int
    top1: float
    interval: Bounds
    top5: float
    calibration_error: float
    not_finite: int
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """The accuracy as plain JSON values, shares in percent."""
        return {
            "count": self.count,
            "top1": 100 * self.top1,
            "top1_interval": _percent(self.interval),
            "top5": 100 * self.top5,
            "calibration_error": 100 * self.calibration_error,
            "not_finite": self.not_finite,
            "images_per_second": self.images_per_second,
        }


@dataclass(frozen=True)
class Agreement:
    """Agreement of a classifier with its reference, over the images that both classified.

    Attributes:
        count: Number of these images.
        share: Share of them with the same top-1 class.
        difference: The classifier's top-1 accuracy minus the reference's.
        interval: The 95 % confidence interval of the difference.
    """

    count: int
    share: float
    difference: float
    interval: Bounds

    def to_dict(self) -> dict[str, Any]:
        """The agreement as plain JSON values, the share in percent and the difference in points."""
        return {
            "agreement": 100 * self.share,
            "compared": self.count,
            "difference": 100 * self.difference,
            "difference_interval": _percent(self.interval),
        }


NO_ACCURACY = {
    "count": 0,
    **dict.fromkeys(("top1", "top1_interval", "top5", "calibration_error", "not_finite", "images_per_second")),
}
"""The JSON values of an accuracy without images."""

NO_AGREEMENT = {
    "agreement": None,
    "compared": 0,
    **dict.fromkeys(("difference", "difference_interval")),
}
"""The JSON values without an agreement."""


def accuracy(predictions: Predictions, labels: Labels) -> Accuracy | None:
    """The accuracy of predictions; None without predictions.

    Args:
        predictions: For images of the data.
        labels: The class of each image of the data, by index, (N,).
    """
    count = len(predictions.images)
    if not count:
        return None
    hits = np.array(predictions.top) == labels[predictions.images][:, None]  # (N, up to 5)
    right = hits[:, 0]
    return Accuracy(
        count=count,
        top1=float(right.mean()),
        interval=share_interval(int(right.sum()), count),
        top5=float(hits.any(axis=1).mean()),
        calibration_error=calibration_error(np.array(predictions.confidence), right),
        not_finite=sum(row[0] == NO_CLASS for row in predictions.top),
        images_per_second=count / predictions.seconds,
    )


def agreement(predictions: Predictions, reference: Predictions, labels: Labels) -> Agreement | None:
    """The agreement of predictions with the reference's for the same images; None without common images."""
    expected = {index: row[0] for index, row in zip(reference.images, reference.top, strict=True)}
    pairs = [
        (index, row[0], expected[index])
        for index, row in zip(predictions.images, predictions.top, strict=True)
        if index in expected
    ]
    if not pairs:
        return None
    indices, own, other = np.array(pairs).T
    is_own_right, is_other_right = own == labels[indices], other == labels[indices]
    gained, lost = int((is_own_right & ~is_other_right).sum()), int((is_other_right & ~is_own_right).sum())
    return Agreement(
        count=len(pairs),
        share=float((own == other).mean()),
        difference=(gained - lost) / len(pairs),
        interval=difference_interval(gained, lost, len(pairs)),
    )


def _percent(bounds: Bounds) -> list[float]:
    return [100 * bound for bound in bounds]
