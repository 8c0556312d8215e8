"""The input and the output of a Core ML model, to and from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.artifact.metadata import LABELS_KEY
from evim_deploy.common.errors import Damaged
from evim_deploy.common.json_documents import parse_json
from runtimes import Array

if TYPE_CHECKING:
    from coremltools.proto import Model_pb2
    from PIL.Image import Image


def feed(feature: Model_pb2.FeatureDescription, image: Array) -> Array | Image:
    """Return pixels (1, 3, H, W) as Core ML accepts them for an input: a picture, or the array itself.

    Args:
        feature: The input.
        image: RGB pixels from 0 to 255; those of a picture are rounded to 8 bits.
    """
    if feature.type.WhichOneof("Type") != "imageType":
        return image
    from PIL import Image

    return Image.fromarray(image[0].transpose(1, 2, 0).round().astype(np.uint8))  # (H, W, 3)


def probabilities(by_label: Mapping[str, float], metadata: Mapping[str, str], path: Path) -> Array:
    """Return the probabilities (1, num_classes) of a classifier in the order of the labels in its metadata.

    Args:
        by_label: The output of the classifier; its own order counts if the metadata has no labels.
        metadata: Metadata of the package.
        path: The package, for messages.

    Raises:
        BadInput: The classes differ from the labels.
    """
    try:
        labels = parse_json(metadata.get(LABELS_KEY, "[]")) or list(by_label)
        values = [by_label[label] for label in labels]
    except (ValueError, KeyError, TypeError):
        values = []
    if len(values) != len(by_label):
        raise Damaged(f"{path} is damaged: its classes are not the labels in its metadata.")
    return np.array([values], dtype=np.float32)
