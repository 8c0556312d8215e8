"""Differences between two sets of outputs, in several measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.parity import Measures, WorstElement
from evim_deploy.common.errors import ParityFailed
from evim_deploy.common.numerics import signal_to_noise_db, softmax
from evim_deploy.networks.protocols import Array, Outputs

Doubles = npt.NDArray[np.float64]

_TOP = 5


def pair_outputs(
    names: Sequence[str], references: Outputs, actuals: Outputs, units: Mapping[str, float] | None = None
) -> list[OutputPair]:
    """Pair outputs with the reference's, image by image.

    Args:
        names: Names of the B images.
        references: The reference's outputs by name, (B, ...) each.
        actuals: The outputs under test, with the same names and shapes.
        units: The :func:`ranges` of the whole comparison, where these are not all its images.

    Raises:
        ParityFailed: An output is missing or has another shape.
    """
    pairs = []
    units = units or ranges(references)
    for output, reference in references.items():
        actual = actuals.get(output)
        if actual is None or actual.shape != reference.shape:
            state = "is missing" if actual is None else f"has shape {actual.shape[1:]}"
            raise ParityFailed(
                f"The output {output} {state}; its shape should be {reference.shape[1:]}.", "Export it again."
            )
        pairs += [
            OutputPair(
                name=name,
                output=output,
                reference=expected.astype(np.float64),
                actual=value.astype(np.float64),
                unit=units[output],
            )
            for name, expected, value in zip(names, reference, actual, strict=True)
        ]
    return pairs


_SMALLEST_RANGES = {"probabilities": 0.02}
"""By output, the smallest unit of its errors.

float32 has a relative error of about 2^-23 in each probability, which is an absolute error of the logits, however small
their range is. An untrained network may give all classes nearly equal probabilities: the range alone would report an
error.
"""


def ranges(references: Outputs) -> dict[str, float]:
    """By output (B, ...), its largest range on any image; for probabilities, compared as logits, at least 0.02."""
    return {
        name: max(_SMALLEST_RANGES.get(name, 0.0), *(_range(values) for values in array))
        for name, array in references.items()
    }


def spread(references: Outputs) -> float:
    """The largest variation of an element of any output (B, ...) over the images, in units of the output's range.

    It is 0 if the outputs do not depend on the image.
    """
    units = ranges(references)
    variation = {name: float(np.ptp(array, axis=0).max()) for name, array in references.items()}
    return max(variation[name] / units[name] if units[name] else 0.0 for name in references)


def as_logits(probabilities: Array, smallest: float) -> Array:
    """The logits (B, classes) of probabilities, shifted to mean 0 for each image.

    The logarithms are computed in float64: those of float32 would lose more than float32 probabilities do.

    Args:
        probabilities: (B, classes).
        smallest: Smaller probabilities are replaced by this.
    """
    logits = np.log(np.maximum(probabilities, smallest), dtype=np.float64)
    return logits - logits.mean(axis=1, keepdims=True)


def measure(pairs: Sequence[OutputPair], classes: bool) -> Measures:
    """All measures over all pairs; ``classes`` tells whether the outputs are logits."""
    worst = max(pairs, key=lambda pair: pair.max_abs)
    return Measures(
        max_abs=worst.max_abs,
        mean_abs=float(np.mean([pair.mean_abs for pair in pairs])),
        cosine=min(pair.cosine() for pair in pairs),
        snr_db=min(pair.snr_db() for pair in pairs),
        top1=float(np.mean([pair.top(1) for pair in pairs])) if classes else None,
        top5=float(np.mean([pair.top(_TOP) for pair in pairs])) if classes else None,
        kl=max(pair.divergence() for pair in pairs) if classes else None,
        worst=WorstElement(worst.name, worst.output, worst.index),
    )


class OutputPair:
    """One output of one image beside the reference's.

    Args:
        name: The image's name.
        output: The output's name.
        reference: The reference's values, float64.
        actual: The values under test, float64, of the same shape.
        unit: The unit of all errors.
    """

    def __init__(self, *, name: str, output: str, reference: Doubles, actual: Doubles, unit: float) -> None:
        self.name, self.output, self.reference, self.actual = name, output, reference, actual
        self.is_finite = bool(np.isfinite(reference).all() and np.isfinite(actual).all())
        with np.errstate(invalid="ignore"):
            errors = np.abs(actual - reference) / unit
        errors[~np.isfinite(errors)] = np.inf
        self.index = tuple(int(i) for i in np.unravel_index(errors.argmax(), errors.shape))
        self.max_abs = float(errors.max())
        self.mean_abs = float(errors.mean())

    def cosine(self) -> float:
        """Cosine similarity; 0 if a value is not finite."""
        if not self.is_finite:
            return 0.0
        norms = float(np.linalg.norm(self.reference) * np.linalg.norm(self.actual))
        same = float(np.array_equal(self.reference, self.actual))
        return min(1.0, float((self.reference * self.actual).sum()) / norms) if norms else same

    def snr_db(self) -> float:
        """Signal-to-noise ratio, dB; infinite if the two are equal."""
        if not self.is_finite:
            return -np.inf
        return signal_to_noise_db(*((values**2).sum() for values in (self.reference, self.actual - self.reference)))

    def top(self, count: int) -> float:
        """Share of the reference's top classes that are among the top classes of the output under test."""
        if not self.is_finite:
            return 0.0
        count = min(count, self.reference.size)
        expected, actual = (
            set(np.argsort(-logits, kind="stable")[:count].tolist()) for logits in (self.reference, self.actual)
        )
        return len(expected & actual) / count

    def divergence(self) -> float:
        """Kullback-Leibler divergence from the reference's probabilities, nats."""
        if not self.is_finite:
            return np.inf
        p, q = (
            np.maximum(softmax(logits[None])[0], np.finfo(np.float64).tiny) for logits in (self.reference, self.actual)
        )
        return max(0.0, float((p * np.log(p / q)).sum()))


def _range(values: Array) -> float:
    """Maximum minus minimum; for a constant its magnitude, and 1 for zeros."""
    low, high = float(values.min()), float(values.max())
    extent = high - low or abs(high) or 1.0
    return extent if np.isfinite(extent) else 1.0
