"""The photographs that ship with the package, for parity and for seeded weights (see data/NOTICE.md)."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from evim_deploy.images.preprocessing import Pixels, open_image, resize_and_crop

NAMES = ("astronaut", "cat", "coffee", "rocket")
SIDE = 256


def load(name: str, height: int = SIDE, width: int = SIDE) -> Pixels:
    """A photograph, (height, width, 3) uint8 RGB; its native size is 256 x 256."""
    with as_file(files("evim_deploy") / "data" / "photographs" / f"{name}.png") as path:
        image = open_image(path)
    return np.asarray(image) if (height, width) == (SIDE, SIDE) else resize_and_crop(image, height, width)
