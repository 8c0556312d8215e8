"""Seeded weights for any torch module, as :mod:`evim_deploy.networks.efficientvim.seeded` makes them for ours.

What timm starts training from would hide faults: layer scales of 1e-5 and residual branches that begin at zero
switch off what a wrong rewrite changes. Here every parameter is drawn where training leaves it, and each BatchNorm
gets the statistics of what reaches it from the package's photographs and from noise, so that the answer varies
with the image. With photographs alone, the noise that predictions are timed on leaves the range that float32 is
good for: MobileOne-S4's answers were off by 14 % of the largest.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.seeding import fan_in_bound, settle_statistics

_GAIN = (0.5, 1.5)
_BIAS = (-0.25, 0.25)
_LAYER_SCALE = (0.1, 0.3)  # and whatever else a network has of its own
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_PRODUCTS = (nn.modules.conv._ConvNd, nn.Linear)


def seed_weights(model: nn.Module, height: int, width: int, seed: int = 0) -> None:
    """Give a network the weights of a seed, in place, and put it into evaluation mode; alike on every machine.

    Args:
        model: That takes normalised images (B, 3, H, W), in float32.
        height: Of the images that its statistics come from, in pixels.
        width: Likewise.
        seed: Of the draws.
    """
    model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.uniform_(*_bounds(module, name, parameter), generator=generator)
    settle_statistics(model.double(), sample_images(height, width).double())
    model.float()


def sample_images(height: int, width: int) -> Tensor:
    """The package's photographs, normalised, and as many of noise, (8, 3, height, width) in float32."""
    pixels = np.stack([photographs.load(name, height, width) for name in photographs.NAMES])
    images = torch.from_numpy(normalise(pixels.transpose(0, 3, 1, 2).astype(np.float32)))
    return torch.cat([images, torch.randn(images.shape, generator=torch.Generator().manual_seed(0))])


def _bounds(module: nn.Module, name: str, parameter: Tensor) -> tuple[float, float]:
    if name == "bias":
        return _BIAS
    if isinstance(module, _NORMS):
        return _GAIN
    if isinstance(module, _PRODUCTS):
        bound = fan_in_bound(parameter)
        return -bound, bound
    return _LAYER_SCALE
