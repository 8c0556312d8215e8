"""Seeded weights for any torch module.

timm's initial values for training would hide faults: layer scales of 1e-5 and residual branches that begin at zero
switch off the parts that a wrong rewrite changes. Here every parameter is drawn from the range where training leaves
it, and each BatchNorm has the statistics of its own input for the package's photographs and for noise, so that the
output varies with the image. With photographs alone, the noise images of benchmarks exceed the range in which float32
is accurate: MobileOne-S4's outputs were off by 14 % of the largest.
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
_LAYER_SCALE = (0.1, 0.3)  # and any other parameter
_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_PRODUCTS = (nn.modules.conv._ConvNd, nn.Linear)


def seed_weights(model: nn.Module, height: int, width: int, seed: int = 0) -> None:
    """Set a network's weights to those of a seed, in place, and put it into evaluation mode; alike on every machine.

    Args:
        model: A network in float32 for normalised images (B, 3, H, W).
        height: Height of the images for its statistics, pixels.
        width: Width of these images, pixels.
        seed: Seed of the draws.
    """
    model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.uniform_(*_bounds(module, name, parameter), generator=generator)
    settle_statistics(model.double(), sample_images(height, width).double())
    model.float()


def sample_images(height: int, width: int) -> Tensor:
    """The package's photographs, normalised, and as many noise images, (8, 3, height, width) in float32."""
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
