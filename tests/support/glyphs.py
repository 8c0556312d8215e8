"""A model of a harder task than digits: 45 printed characters in held-out fonts (data/glyphs/NOTICE.md).

It has the architecture of digits: ``export digits --weights tests/data/glyphs/efficientvim_glyphs.safetensors``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.images.preprocessing import Pixels
from training import glyphs

FOLDER = Path(__file__).parents[1] / "data" / "glyphs"
WEIGHTS = FOLDER / glyphs.WEIGHTS_FILE
CLASSES = glyphs.CLASSES


def held_out() -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Held-out images (N, 64, 64, 3) uint8 RGB of characters, and their indices in CLASSES, (N,) int64."""
    return glyphs.held_out(FOLDER)
