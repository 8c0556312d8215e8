"""Train a model for tests on a harder task: printed characters in unknown fonts, with noise and stains.

`python -m training.glyphs tests/data/glyphs` writes its weights and a sheet of held-out characters.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file
from torch import Tensor

from evim_deploy.catalog.variants import DIGITS
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import Pixels
from evim_deploy.networks.efficientvim.model import EfficientViM
from training.fit import Recipe, accuracy, as_an_app_feeds_it, fit, warp

CLASSES = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabdefghnqrt"
"""Left out is what many fonts draw like another: O, I, and the small letters that are small capitals."""

SIDE = DIGITS.resolution
SEED = 0
RECIPE = Recipe(epochs=25, batch=64, peak_rate=3e-3)
WEIGHTS_FILE = "efficientvim_glyphs.safetensors"
SHEET_FILE = "held_out.png"

HELD_OUT = (
    "Cabin",
    "Caladea",
    "Cantarell",
    "Comfortaa",
    "EB Garamond",
    "Fira Code",
    "JetBrains Mono",
    "Lato",
    "Old Standard TT",
    "Open Sans",
    "Quicksand",
    "Vollkorn",
)
"""Families that are drawn for the sheet alone; all are under the OFL or Apache's licence."""

TRAINED = (
    "Accanthis ADF Std",
    "C059",
    "CMU Bright",
    "CMU Classical Serif",
    "CMU Concrete",
    "CMU Sans Serif",
    "CMU Serif",
    "CMU Typewriter Text",
    "Carlito",
    "DejaVu Sans",
    "DejaVu Sans Mono",
    "DejaVu Serif",
    "FreeMono",
    "FreeSans",
    "FreeSerif",
    "GFS Didot",
    "Gillius ADF",
    "Hack",
    "Inconsolata",
    "Junicode Two Beta",
    "Liberation Mono",
    "Liberation Sans",
    "Liberation Sans Narrow",
    "Liberation Serif",
    "Linux Biolinum O",
    "Linux Libertine O",
    "Nimbus Mono PS",
    "Nimbus Roman",
    "Nimbus Sans",
    "Noto Sans",
    "Noto Sans Display",
    "Noto Serif",
    "Noto Serif Display",
    "P052",
    "Roboto",
    "Roboto Condensed",
    "STIXGeneral",
    "TeX Gyre Chorus",
    "URW Bookman",
    "URW Gothic",
    "Universalis ADF Std",
    "Z003",
)

_CAPITAL = 36  # pixels
_FILES = 4  # files per training family
_SHOWN = 2  # files per held-out family
_FOLDERS = ("/usr/share/fonts", "/usr/share/texmf/fonts")

Grey = npt.NDArray[np.float64]


def fonts() -> dict[str, list[Path]]:
    """The font files of each installed family, sorted by path.

    Raises:
        BadInput: A family is missing.
    """
    import matplotlib

    found = defaultdict(list)
    for folder in (*_FOLDERS, str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")):
        for path in sorted(Path(folder).rglob("*.[ot]tf")):
            found[ImageFont.truetype(path).getname()[0]].append(path)
    missing = sorted({*HELD_OUT, *TRAINED} - found.keys())
    if missing:
        raise BadInput(f"There are no fonts {', '.join(missing)}.", "training/README.md says what to install.")
    return found


def drawn(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Draw each class in a font, (64, 64) uint8: black on white, centred, with capitals of a fixed height."""
    measured = ImageFont.truetype(path, 100).getbbox("H", anchor="ls")
    font = ImageFont.truetype(path, round(100 * _CAPITAL / -measured[1]))
    for character in CLASSES:
        picture = Image.new("L", (SIDE, SIDE), 255)
        left, top, right, bottom = font.getbbox(character, anchor="ls")
        ImageDraw.Draw(picture).text(
            ((SIDE - left - right) / 2, (SIDE - top - bottom) / 2), character, 0, font, anchor="ls"
        )
        yield np.asarray(picture)


def perturbed(grey: Grey, draw: np.random.RandomState) -> Grey:
    """Fade clean images (N, 64, 64) between 0 and 1, add stains and noise, and invert half of them.

    All draws are uniform ones from numpy's frozen generator, so that a seed gives the same images everywhere.
    """

    def uniform(low: float, high: float, *shape: int) -> Grey:
        return low + (high - low) * draw.random_sample((len(grey), *(shape or (1, 1))))

    contrast = uniform(0.3, 0.9)
    x = contrast * grey + (1 - contrast) * uniform(0, 1)
    x = np.where(uniform(0, 1) < 0.5, x, 1 - x)
    stains = _SPREAD @ uniform(-1, 1, *_STAINS) @ _SPREAD.T  # (N, 64, 64)
    noise = uniform(-1, 1, SIDE, SIDE)
    return np.clip(x + uniform(0, 0.25) * stains + uniform(0, 0.25) * noise, 0, 1)


_STAINS = (9, 9)
_SPREAD = np.maximum(0, 1 - np.abs(np.linspace(0, 8, SIDE)[:, None] - np.arange(9)))  # (64, 9), linear interpolation


def augment(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, shift, scale and perturb images (B, 1, 64, 64)."""
    seed = int(torch.randint(2**31, (), generator=generator))
    moved = warp(grey, generator, degrees=15, zoom=(0.75, 1.2), shear=0.15, shift=0.15)
    return torch.from_numpy(perturbed(moved[:, 0].double().numpy(), np.random.RandomState(seed))).float()[:, None]


def sheet(families: dict[str, list[Path]]) -> npt.NDArray[np.uint8]:
    """Draw the held-out characters, warped but without noise: a column per class, a row per font, tiles of 64x64."""
    rows = [np.stack(list(drawn(path))) for name in HELD_OUT for path in spread(families[name], _SHOWN)]
    clean = torch.from_numpy(np.concatenate(rows)).float()[:, None] / 255
    moved = warp(clean, torch.Generator().manual_seed(SEED), degrees=15, zoom=(0.75, 1.0), shear=0.15, shift=0.12)
    tiles = (255 * moved).round().byte().numpy().reshape(len(rows), len(CLASSES), SIDE, SIDE)
    return tiles.swapaxes(1, 2).reshape(len(rows) * SIDE, len(CLASSES) * SIDE)


def held_out(folder: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Perturbed images (N, 64, 64, 3) uint8 RGB of a folder's sheet, and their indices in CLASSES, (N,) int64."""
    with Image.open(folder / SHEET_FILE) as image:
        tiles = np.asarray(image).reshape(-1, SIDE, len(CLASSES), SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
    grey = np.round(255 * perturbed(tiles / 255, np.random.RandomState(SEED))).astype(np.uint8)
    labels = np.tile(np.arange(len(CLASSES)), len(tiles) // len(CLASSES))
    return np.repeat(grey[..., None], 3, axis=-1), labels


def spread(paths: list[Path], count: int) -> list[Path]:
    """Select at most ``count`` evenly spaced paths, including the first and the last."""
    return [paths[round(i)] for i in np.linspace(0, len(paths) - 1, min(count, len(paths)))]


def main(folder: Path) -> None:
    """Write both files into a folder and print the held-out accuracy."""
    families = fonts()
    Image.fromarray(sheet(families)).save(folder / SHEET_FILE, optimize=True)
    paths = [path for name in TRAINED for path in spread(families[name], _FILES)]
    grey = np.concatenate([np.stack(list(drawn(path))) for path in paths])
    pixels, labels = np.repeat(grey[..., None], 3, axis=-1), np.tile(np.arange(len(CLASSES)), len(paths))
    torch.manual_seed(SEED)
    model = EfficientViM(DIGITS, len(CLASSES))
    model = fit(model, pixels, labels, augment, RECIPE, SEED)
    save_file(model.state_dict(), folder / WEIGHTS_FILE)
    pictures, labels = held_out(folder)
    share = accuracy(model, as_an_app_feeds_it(pictures), labels)
    sys.stdout.write(f"{share:.2%} of {len(labels)} held-out pictures\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
