"""How far apart two sets of outputs are, in several measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.parity import Measures, Worst
from evim_deploy.common.errors import ParityFailed
from evim_deploy.common.numerics import signal_to_noise_db, softmax
from evim_deploy.networks.protocols import Array, Outputs

Doubles = npt.NDArray[np.float64]

_TOP = 5


def rows(
    names: Sequence[str], references: Outputs, actuals: Outputs, units: Mapping[str, float] | None = None
) -> list[Row]:
    """Line up outputs, image by image.

    Args:
        names: Of the images, B of them.
        references: Output by name, (B, ...) each.
        actuals: The same names and shapes.
        units: The :func:`ranges`, where these are not all images of a comparison.

    Raises:
        ParityFailed: An output is missing or has another shape.
    """
    found = []
    units = units or ranges(references)
    for output, reference in references.items():
        actual = actuals.get(output)
        if actual is None or actual.shape != reference.shape:
            instead = "there is none" if actual is None else f"it is {actual.shape[1:]}"
            raise ParityFailed(
                f"The output {output} should be {reference.shape[1:]}, and {instead}.", "Export it again."
            )
        found += [
            Row(name, output, expected.astype(np.float64), value.astype(np.float64), units[output])
            for name, expected, value in zip(names, reference, actual, strict=True)
        ]
    return found


_LEAST_RANGES = {"probabilities": 0.02}
"""By output, the least unit of its errors.

float32 gives each probability to about 2^-23 of it, and moves the logits by that, however small their range is. An
untrained network may find all classes next to equally likely: the range alone would make that an error.
"""


def ranges(references: Outputs) -> dict[str, float]:
    """By output (B, ...), the largest range that it has of any image; of probabilities, as logits, at least 0.02."""
    return {
        name: max(_LEAST_RANGES.get(name, 0.0), *(_range(values) for values in array))
        for name, array in references.items()
    }


def spread(references: Outputs) -> float:
    """How much the image matters: the most that any value of an output (B, ...) varies over images, of its range.

    Of a network that answers alike to all images it is 0.
    """
    units = ranges(references)
    moved = {name: float(np.ptp(array, axis=0).max()) for name, array in references.items()}
    return max(moved[name] / units[name] if units[name] else 0.0 for name in references)


def as_logits(probabilities: Array, least: float) -> Array:
    """The logits (B, classes) that probabilities stand for; those are up to a constant of each image, here of mean 0.

    A probability below the least that its type resolves counts as that. The logarithms are float64's: those of float32
    would lose more than float32's probabilities do.
    """
    logits = np.log(np.maximum(probabilities, least), dtype=np.float64)
    return logits - logits.mean(axis=1, keepdims=True)


def measure(lined_up: Sequence[Row], classes: bool) -> Measures:
    """All measures over all rows; ``classes`` says whether they are logits."""
    worst = max(lined_up, key=lambda row: row.max_abs)
    return Measures(
        max_abs=worst.max_abs,
        mean_abs=float(np.mean([row.mean_abs for row in lined_up])),
        cosine=min(row.cosine() for row in lined_up),
        snr_db=min(row.snr_db() for row in lined_up),
        top1=float(np.mean([row.top(1) for row in lined_up])) if classes else None,
        top5=float(np.mean([row.top(_TOP) for row in lined_up])) if classes else None,
        kl=max(row.divergence() for row in lined_up) if classes else None,
        worst=Worst(worst.name, worst.output, worst.where),
    )


class Row:
    """One output of one image; errors are in the unit that is given."""

    def __init__(self, name: str, output: str, reference: Doubles, actual: Doubles, unit: float) -> None:
        self.name, self.output, self.reference, self.actual = name, output, reference, actual
        self.is_finite = bool(np.isfinite(reference).all() and np.isfinite(actual).all())
        with np.errstate(invalid="ignore"):
            errors = np.abs(actual - reference) / unit
        errors[~np.isfinite(errors)] = np.inf
        self.where = tuple(int(i) for i in np.unravel_index(errors.argmax(), errors.shape))
        self.max_abs = float(errors.max())
        self.mean_abs = float(errors.mean())

    def cosine(self) -> float:
        """Of the angle between reference and output; 0 where something is not finite."""
        if not self.is_finite:
            return 0.0
        norms = float(np.linalg.norm(self.reference) * np.linalg.norm(self.actual))
        same = float(np.array_equal(self.reference, self.actual))
        return min(1.0, float((self.reference * self.actual).sum()) / norms) if norms else same

    def snr_db(self) -> float:
        """Signal to noise, dB; infinite where they are equal."""
        if not self.is_finite:
            return -np.inf
        return signal_to_noise_db(*((values**2).sum() for values in (self.reference, self.actual - self.reference)))

    def top(self, count: int) -> float:
        """Share of the reference's likeliest classes that are among the artifact's likeliest."""
        if not self.is_finite:
            return 0.0
        count = min(count, self.reference.size)
        expected, found = (
            set(np.argsort(-logits, kind="stable")[:count].tolist()) for logits in (self.reference, self.actual)
        )
        return len(expected & found) / count

    def divergence(self) -> float:
        """Kullback-Leibler, from the reference's probabilities, nats."""
        if not self.is_finite:
            return np.inf
        p, q = (
            np.maximum(softmax(logits[None])[0], np.finfo(np.float64).tiny) for logits in (self.reference, self.actual)
        )
        return max(0.0, float((p * np.log(p / q)).sum()))


def _range(values: Array) -> float:
    """Greatest minus least; of a constant its magnitude, and 1 of zeros."""
    least, greatest = float(values.min()), float(values.max())
    found = greatest - least or abs(greatest) or 1.0
    return found if np.isfinite(found) else 1.0
