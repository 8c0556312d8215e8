"""How the small models are trained: pictures made harder by seeded draws, AdamW, one cycle, averaged weights.

On one thread: sums then have one order, so that a seed gives the same weights again on the same processor and torch.
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
"""From grey pictures (B, 1, H, W) between 0 and 1 and a generator to others like them."""


@dataclass(frozen=True)
class Recipe:
    """A training's numbers; ``average`` is what a step leaves of the average of the weights before."""

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    average: float = 0.99


def fit(
    model: EfficientViM, pixels: Pixels, labels: np.ndarray, augment: Augment, recipe: Recipe, seed: int
) -> EfficientViM:
    """Train a model on network-ready pixels (N, H, W, 3) uint8 and labels (N,); gives it back in eval mode."""
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
    """Normalised RGB (B, 3, H, W) of grey pictures (B, 1, H, W) between 0 and 1."""
    return torch.from_numpy(normalise((255 * grey).expand(-1, 3, -1, -1).numpy()))


def as_an_app_feeds_it(pictures: Pixels) -> Pixels:
    """Pictures (N, H, W, 3) through the package's own resizing and cropping to their own size."""
    from PIL import Image

    height, width = pictures.shape[1:3]
    return np.stack([resize_and_crop(Image.fromarray(each), height, width) for each in pictures])


@torch.no_grad()
def accuracy(model: EfficientViM, pixels: Pixels, labels: np.ndarray) -> float:
    """Share of network-ready pixels (N, H, W, 3) uint8 whose likeliest class is their label."""
    images = torch.from_numpy(normalise(pixels.transpose(0, 3, 1, 2).astype(np.float32)))
    guesses = torch.cat([model(part).argmax(1) for part in images.split(256)])
    return float((guesses.numpy() == labels).mean())


def draw(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """Uniform numbers (count, 1, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def warp(
    grey: Tensor, generator: torch.Generator, degrees: float, zoom: tuple[float, float], shear: float, shift: float
) -> Tensor:
    """Each picture turned, scaled, sheared and moved (in shares of half its side); its border goes on outside."""
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
