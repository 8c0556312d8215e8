"""Arithmetic on arrays of predictions that several modules need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities (B, classes) of logits (B, classes)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities of logits, each class by itself."""
    exponentials = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1, exponentials) / (1 + exponentials)


ACTIVATIONS: Mapping[str, Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
}
"""Makes probabilities (B, classes) of logits (B, classes), by the name that a manifest has."""


def with_probabilities(logits: npt.NDArray[Any], activation: str = "softmax") -> dict[str, npt.NDArray[np.float32]]:
    """The two outputs of a classifier by name, (B, classes), from its logits."""
    return {"logits": logits, "probabilities": ACTIVATIONS[activation](logits).astype(np.float32)}


def batches(count: int, size: int) -> list[npt.NDArray[np.int64]]:
    """Indices of ``count`` images in batches of a fixed size, the last filled up from the first."""
    return [np.arange(start, start + size) % count for start in range(0, count, size)]


def signal_to_noise_db(signal: float, noise: float) -> float:
    """Signal-to-noise ratio, dB, of two powers (sums of squares).

    Infinite without noise; minus infinity without signal, or where a power is not finite.
    """
    if not isfinite(signal) or not isfinite(noise):
        return -inf
    with np.errstate(divide="ignore"):
        return 10 * float(np.log10(signal / np.float64(noise))) if noise else inf
