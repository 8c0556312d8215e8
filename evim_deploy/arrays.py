"""Arithmetic on arrays of predictions that several modules need."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities (B, classes) of logits (B, classes)."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def batches(count: int, size: int) -> list[npt.NDArray[np.int64]]:
    """Indices of ``count`` images in batches of a fixed size, the last filled up from the first."""
    return [np.arange(start, start + size) % count for start in range(0, count, size)]
