"""A trained model harder than digits: 45 printed characters of families that it never saw (data/glyphs/NOTICE.md).

Its architecture is that of digits: ``export digits --weights tests/data/glyphs/efficientvim_glyphs.safetensors``.
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
    """Pictures (N, 64, 64, 3) uint8 RGB of characters, and the index of each in CLASSES, (N,) int64."""
    return glyphs.held_out(FOLDER)
