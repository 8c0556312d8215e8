"""Train the digits model of the package: `python -m training.digits` writes its weights and images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.catalog.variants import VARIANTS
from evim_deploy.images import digits
from evim_deploy.networks.efficientvim.model import EfficientViM
from training.fit import Recipe, accuracy, as_an_app_feeds_it, draw, fit, warp

SEED = 0
HELD_OUT = 600
RECIPE = Recipe(epochs=80, batch=64, peak_rate=3e-3)


def split() -> dict[str, np.ndarray]:
    """Split scikit-learn's digits, (N, 8, 8) uint8 from 0 to 16 and labels (N,), into training and held-out arrays."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    cells, labels = found.images.astype(np.uint8), found.target.astype(np.uint8)
    seen, held_out = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, random_state=SEED, stratify=labels)
    return {
        f"{part}_{name}": values[np.sort(rows)]
        for part, rows in (("training", seen), ("held_out", held_out))
        for name, values in (("cells", cells), ("labels", labels))
    }


def augment(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, shift, scale and fade images (B, 1, H, W) at random; pixelate a quarter and invert half of them."""
    count = len(grey)
    squares = F.interpolate(F.avg_pool2d(grey, digits.CELLS), scale_factor=digits.CELLS)  # (B, 1, 64, 64)
    grey = torch.where(draw(generator, count, 0, 1) < 0.25, squares, grey)
    ink = 1 - warp(grey, generator, degrees=12, zoom=(0.7, 1.1), shear=0.15, shift=0.12)
    strength = draw(generator, count, 0.5, 1)
    floor = (1 - strength) * draw(generator, count, 0, 1)
    x = floor + strength * ink
    x = torch.where(draw(generator, count, 0, 1) < 0.5, x, 1 - x)
    return (x + 0.02 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def main(folder: Path) -> None:
    """Write both files into a folder and print the held-out accuracy."""
    np.savez_compressed(folder / digits.PICTURES_FILE, **split())
    seen, labels = digits.training()
    torch.manual_seed(SEED)
    model = EfficientViM(VARIANTS["digits"], len(digits.CLASSES))
    model = fit(model, as_an_app_feeds_it(seen), labels, augment, RECIPE, SEED)
    save_file(model.state_dict(), folder / digits.WEIGHTS_FILE)
    pictures, labels = digits.held_out()
    share = accuracy(model, as_an_app_feeds_it(pictures), labels)
    sys.stdout.write(f"{share:.2%} of {len(labels)} held-out pictures\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
