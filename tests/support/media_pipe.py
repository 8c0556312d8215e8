"""ImageClassifier of MediaPipe Tasks, which app developers use with .tflite files."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest


def import_mediapipe() -> Any:
    """Import MediaPipe Tasks; skip the test with a reason if the package or its libraries are not installed."""
    for library in ("libEGL.so.1", "libGLESv2.so.2"):
        if sys.platform == "linux":
            try:
                ctypes.CDLL(library)
            except OSError:
                pytest.skip(f"{library} is not installed (Debian: libegl1 libgles2): MediaPipe not run on this host")
    return pytest.importorskip("mediapipe", reason="mediapipe is not installed: not run on this host")


def classify(path: Path, pixels: npt.NDArray[np.uint8]) -> list[tuple[str, float]]:
    """Classify an image (H, W, 3) uint8; return the name and score of each class in the order of the outputs."""
    mediapipe = import_mediapipe()
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(BaseOptions(model_asset_buffer=path.read_bytes()))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        (head,) = classifier.classify(image).classifications
    found = {category.index: (category.category_name, category.score) for category in head.categories}
    return [found[index] for index in range(len(found))]
