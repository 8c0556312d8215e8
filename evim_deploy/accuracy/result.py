"""What a classifier's answers come to: how often it is right, and how often it says what the network says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.answers import NOWHERE, Answers
from evim_deploy.accuracy.measures import Bounds, calibration_error, difference_interval, share_interval

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Of one classifier; shares are between 0 and 1.

    Attributes:
        count: Images that it answered.
        top1: Share whose class is the likeliest.
        interval: That ``top1`` lies in, with 95 %.
        top5: Share whose class is among the five likeliest.
        calibration_error: How far its probabilities are from the share of right answers.
        not_finite: Images whose answer holds an infinity or is not a number, which is never right.
        images_per_second: In its engine, without the decoding of the images.
    """

    count: int
    top1: float
    interval: Bounds
    top5: float
    calibration_error: float
    not_finite: int
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, shares in percent."""
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
class Comparison:
    """A classifier beside its reference, over the images that both answered.

    Attributes:
        count: Those images.
        agreement: Share for which both name the same class.
        difference: By how much more of them the classifier gets right, a share.
        interval: That the difference lies in, with 95 %.
    """

    count: int
    agreement: float
    difference: float
    interval: Bounds

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, shares in percent and the difference in points."""
        return {
            "agreement": 100 * self.agreement,
            "compared": self.count,
            "difference": 100 * self.difference,
            "difference_interval": _percent(self.interval),
        }


NO_ACCURACY = {
    "count": 0,
    **dict.fromkeys(("top1", "top1_interval", "top5", "calibration_error", "not_finite", "images_per_second")),
}
"""The document of an accuracy without an image."""

NO_COMPARISON = {
    "agreement": None,
    "compared": 0,
    **dict.fromkeys(("difference", "difference_interval")),
}
"""The document of a comparison without one."""


def accuracy(answers: Answers, labels: Labels) -> Accuracy | None:
    """How often answers are right; None where there are none.

    Args:
        answers: To images of the data.
        labels: Of all images of the data, by their places.
    """
    count = len(answers.images)
    if not count:
        return None
    hits = np.array(answers.top) == labels[answers.images][:, None]  # (N, up to 5)
    right = hits[:, 0]
    return Accuracy(
        count=count,
        top1=float(right.mean()),
        interval=share_interval(int(right.sum()), count),
        top5=float(hits.any(axis=1).mean()),
        calibration_error=calibration_error(np.array(answers.confidence), right),
        not_finite=sum(row[0] == NOWHERE for row in answers.top),
        images_per_second=count / answers.seconds,
    )


def compare(answers: Answers, reference: Answers, labels: Labels) -> Comparison | None:
    """Answers beside the reference's to the same images; None where there are none."""
    theirs = {place: row[0] for place, row in zip(reference.images, reference.top, strict=True)}
    pairs = [
        (place, row[0], theirs[place])
        for place, row in zip(answers.images, answers.top, strict=True)
        if place in theirs
    ]
    if not pairs:
        return None
    places, mine, its = np.array(pairs).T
    is_mine, is_its = mine == labels[places], its == labels[places]
    gained, lost = int((is_mine & ~is_its).sum()), int((is_its & ~is_mine).sum())
    return Comparison(
        len(pairs),
        float((mine == its).mean()),
        (gained - lost) / len(pairs),
        difference_interval(gained, lost, len(pairs)),
    )


def _percent(bounds: Bounds) -> list[float]:
    return [100 * bound for bound in bounds]
