"""Seeded weights of EfficientViM, for latency and parity where trained weights are not available.

With random BatchNorm statistics a network's logits hardly depend on the image, and a parity check on them would pass
almost anything. The statistics are those of the package's photographs under the drawn weights, so signals keep their
size from layer to layer and the logits vary with the image.

A seed gives the same weights on every machine: the draws are uniform numbers of numpy's frozen generator, and the
statistics are computed in float64 and rounded.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evim_deploy.catalog.variants import ModelName
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.seeding import fan_in_bound, settle_statistics

_STRIDE = 2  # every other pixel of the photographs is enough, and four times as fast
_HEAD_GAIN = 10.0  # logits of the size that a trained model's have


def untrained_model(name: ModelName, num_classes: int, seed: int) -> EfficientViM:
    """A model in evaluation mode with the weights of a seed (0 to 2**32 - 1)."""
    model = EfficientViM(name.variant, num_classes, name.distilled).eval().requires_grad_(False)
    generator = np.random.RandomState(seed)
    for path, parameter in model.named_parameters():
        low, high = _bounds(path, parameter)
        values = low + (high - low) * generator.random_sample(tuple(parameter.shape))
        parameter.copy_(torch.from_numpy(values))
    settle_statistics(model.double(), _images())
    return model.float()


def _bounds(path: str, parameter: Tensor) -> tuple[float, float]:
    """The least and greatest value of a draw: layer scales, norms and gates where training leaves them."""
    for suffix, bounds in _BOUNDS.items():
        if path.endswith(suffix):
            return bounds
    bound = fan_in_bound(parameter) * (_HEAD_GAIN if path.startswith("heads") else 1)
    return -bound, bound


_BOUNDS = {
    "alpha": (-4.0, -2.0),  # branches of 2 to 12 %: wider ones let fp16's rounding grow from block to block
    "mixer.A": (-1.0, 1.0),
    "mixer.D": (0.5, 1.5),
    "bias": (-0.25, 0.25),
    "norm.weight": (0.5, 1.5),
    "norm.0.weight": (0.5, 1.5),
    "norm.1.weight": (0.5, 1.5),
    "norm.2.weight": (0.5, 1.5),
    "norm.3.weight": (0.5, 1.5),
    "weights": (0.0, 1.0),
    "weights_dist": (0.0, 1.0),
}


def _images() -> Tensor:
    pixels = np.stack([photographs.load(name)[::_STRIDE, ::_STRIDE] for name in photographs.NAMES])
    return torch.from_numpy(normalise(pixels.transpose(0, 3, 1, 2).astype(np.float64)))
