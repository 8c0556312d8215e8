"""Arithmetic on predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (B, classes) of logits (B, classes)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid(logits: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (B, classes) of logits (B, classes), each class independent of the others."""
    exponentials = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1, exponentials) / (1 + exponentials)


ACTIVATIONS: Mapping[str, Callable[[Floats], npt.NDArray[np.float64]]] = {"softmax": softmax, "sigmoid": sigmoid}
"""Functions from logits (B, classes) to probabilities (B, classes)."""


def with_probabilities(
    logits: npt.NDArray[np.float32], activation: str = "softmax"
) -> dict[str, npt.NDArray[np.float32]]:
    """The outputs ``logits`` and ``probabilities`` of a classifier, (B, classes) each, from its logits."""
    return {"logits": logits, "probabilities": ACTIVATIONS[activation](logits).astype(np.float32)}


def batches(count: int, size: int) -> list[npt.NDArray[np.int64]]:
    """Indices of ``count`` images in batches of a fixed size; the last batch is filled with the first images."""
    return [np.arange(start, start + size) % count for start in range(0, count, size)]


def signal_to_noise_db(signal: float, noise: float) -> float:
    """Signal-to-noise ratio, dB, of two powers (sums of squares).

    Infinite without noise; minus infinity without signal, or where a power is not finite.
    """
    if not isfinite(signal) or not isfinite(noise):
        return -inf
    with np.errstate(divide="ignore"):
        return 10 * float(np.log10(signal / np.float64(noise))) if noise else inf
