"""Handwritten digits, and the small EfficientViM trained on them: both ship, so that nothing needs a network.

The pictures are scikit-learn's, 8x8 cells of ink from 0 to 16 (see data/NOTICE.md). Only this module makes pictures of
64x64 pixels of them: black ink on white paper, with a margin that
:func:`~evim_deploy.images.preprocessing.resize_and_crop` cuts off again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import Pixels

SOURCE = "package:digits"
"""Name of the weights that ship, in ``--weights`` and manifests."""

CLASSES = tuple("0123456789")

SHA256 = "57c9fc7fecc55959816c3d0f639d9c3bbea02fe68e30fa4f6ade591218d754fe"
"""Hash of the file of weights (hex)."""

WEIGHTS_FILE = "efficientvim_digits.safetensors"
PICTURES_FILE = "digits.npz"

CELLS = 8
FULL_INK = 16
SIDE = 64
_MARGIN = 4  # an eighth of the side in all, which the crop of the evaluation removes

Labels = npt.NDArray[np.int64]


def held_out() -> tuple[Pixels, Labels]:
    """Pictures outside the training set, (N, 64, 64, 3) uint8 RGB, and their digits, (N,) int64."""
    return _pictures("held_out")


def training() -> tuple[Pixels, Labels]:
    """Pictures of the training set, which calibration may use, and their digits, as :func:`held_out`."""
    return _pictures("training")


def picture(cells: npt.NDArray[np.uint8]) -> Pixels:
    """A picture (64, 64, 3) uint8 RGB from cells of ink (8, 8), 0 to 16, scaled by Pillow's bicubic filter."""
    from PIL import Image

    ink = Image.fromarray(np.round(cells * (255 / FULL_INK)).astype(np.uint8))
    inner = SIDE - 2 * _MARGIN
    grey = 255 - np.pad(np.asarray(ink.resize((inner, inner), Image.Resampling.BICUBIC)), _MARGIN)
    return np.repeat(grey[..., None], 3, axis=-1)


@contextmanager
def weights_file() -> Iterator[Path]:
    """The path of the weights that ship.

    Raises:
        BadInput: The file is missing or was changed.
    """
    with as_file(_data() / WEIGHTS_FILE) as path:
        if not path.is_file():
            raise BadInput(f"{path}, the weights of digits, is missing.", "Install evim-deploy again.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
            raise BadInput(
                f"{path} is not the file that ships with evim-deploy: its SHA-256 is another.",
                "Install evim-deploy again; weights of your own are given by --weights PATH.",
            )
        yield path


def _pictures(part: str) -> tuple[Pixels, Labels]:
    with (_data() / PICTURES_FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return np.stack([picture(cells) for cells in arrays[f"{part}_cells"]]), arrays[f"{part}_labels"].astype(
            np.int64
        )


def _data() -> Traversable:
    return files("evim_deploy") / "data" / "digits"
