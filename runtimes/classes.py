"""What a classifier in Core ML gives, as an array: its dictionary in the order of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evim_deploy.artifact.metadata import LABELS_KEY
from evim_deploy.common.errors import Damaged
from evim_deploy.common.json_documents import parse_json
from runtimes import Array


def probabilities(by_label: Mapping[str, float], metadata: Mapping[str, str], path: Path) -> Array:
    """Probabilities (1, classes) in the order of the labels in the metadata; in their own where there are none.

    Raises:
        BadInput: The classes are others than the labels.
    """
    try:
        labels = parse_json(metadata.get(LABELS_KEY, "[]")) or list(by_label)
        values = [by_label[label] for label in labels]
    except (ValueError, KeyError, TypeError):
        values = []
    if len(values) != len(by_label):
        raise Damaged(f"{path} is damaged: its classes are not the labels in its metadata.")
    return np.array([values], dtype=np.float32)
