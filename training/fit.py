"""Training of the small models: seeded augmentation, AdamW, one-cycle learning rate, averaged weights.

Training uses one thread, so that a seed gives the same weights again on the same processor and torch version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from evim_deploy.images.preprocessing import Pixels, normalise, resize_and_crop
from evim_deploy.networks.efficientvim.model import EfficientViM

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Function of grey images (B, 1, H, W) between 0 and 1 and a generator that returns augmented images."""


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training; ``average`` is the decay of the moving average of weights."""

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    average: float = 0.99


def fit(
    model: EfficientViM, pixels: Pixels, labels: np.ndarray, augment: Augment, recipe: Recipe, seed: int
) -> EfficientViM:
    """Train a model on pixels (N, H, W, 3) uint8 of its input size and labels (N,); return it in eval mode."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    grey = torch.from_numpy(pixels[..., 0].astype(np.float32) / 255)[:, None]  # (N, 1, H, W)
    wanted = torch.from_numpy(labels)
    steps = len(grey) // recipe.batch
    optimiser = torch.optim.AdamW(model.parameters(), recipe.peak_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_rate, total_steps=steps * recipe.epochs)
    model.to(memory_format=torch.channels_last).train()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(grey), generator=generator)
        for step in range(steps):
            rows = order[step * recipe.batch : (step + 1) * recipe.batch]
            logits = model(network_input(augment(grey[rows], generator)))
            loss = F.cross_entropy(logits, wanted[rows], label_smoothing=recipe.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            averaged.update_parameters(model)
    return averaged.module.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def network_input(grey: Tensor) -> Tensor:
    """Convert grey images (B, 1, H, W) between 0 and 1 to normalised RGB (B, 3, H, W)."""
    return torch.from_numpy(normalise((255 * grey).expand(-1, 3, -1, -1).numpy()))


def as_an_app_feeds_it(pictures: Pixels) -> Pixels:
    """Resize and crop images (N, H, W, 3) uint8 to their own size with the package's preprocessing."""
    from PIL import Image

    height, width = pictures.shape[1:3]
    return np.stack([resize_and_crop(Image.fromarray(each), height, width) for each in pictures])


@torch.no_grad()
def accuracy(model: EfficientViM, pixels: Pixels, labels: np.ndarray) -> float:
    """Top-1 accuracy on pixels (N, H, W, 3) uint8 of the network's input size, from 0 to 1."""
    images = torch.from_numpy(normalise(pixels.transpose(0, 3, 1, 2).astype(np.float32)))
    guesses = torch.cat([model(part).argmax(1) for part in images.split(256)])
    return float((guesses.numpy() == labels).mean())


def draw(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """Draw uniform numbers between low and high, (count, 1, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def warp(
    grey: Tensor, generator: torch.Generator, degrees: float, zoom: tuple[float, float], shear: float, shift: float
) -> Tensor:
    """Rotate, scale, shear and shift each image at random; its border is repeated outside.

    ``shift`` is relative to half the side.
    """
    count = len(grey)
    angle, scale, slant, right, down = (
        draw(generator, count, low, high).flatten()
        for low, high in ((-degrees, degrees), zoom, (-shear, shear), (-shift, shift), (-shift, shift))
    )
    angle = angle.deg2rad()
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack([cos, -sin + slant, right, sin, cos, down], dim=1).view(count, 2, 3)
    grid = F.affine_grid(rows, list(grey.shape), align_corners=False)
    return F.grid_sample(grey, grid, padding_mode="border", align_corners=False)
