"""Seeded weights for when no trained ones can be had: good for latency and parity, and nothing else.

With random BatchNorm statistics a network's answer hardly depends on the image, and a parity check
on it would pass almost anything. Here the statistics are those of the package's photographs under
the weights drawn, so signals keep their size from layer to layer and the logits vary with the image.

A seed gives the same weights on every machine: the draws are uniform numbers of numpy's frozen
generator, and the statistics are computed in float64 and rounded to 8 bits, which hides how a
machine orders its sums.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evim_deploy.catalog.variants import ModelName
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.efficientvim.model import EfficientViM

_STATISTICS_BITS = 8
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
    """Between what a parameter is drawn: layer scales, norms and gates where training leaves them."""
    for suffix, bounds in _BOUNDS.items():
        if path.endswith(suffix):
            return bounds
    fan_in = parameter[0].numel()
    reach = float(np.sqrt(3 / fan_in))  # variance 1 / fan_in keeps a signal's size
    return (-_HEAD_GAIN * reach, _HEAD_GAIN * reach) if path.startswith("heads") else (-reach, reach)


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


def settle_statistics(model: nn.Module, images: Tensor) -> None:
    """Give each BatchNorm the statistics of what reaches it from images, from the first to the last.

    Args:
        model: In evaluation mode and float64.
        images: Likewise, (B, 3, H, W).
    """

    def settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1)  # (C, B * H * W)
        norm.get_buffer("running_mean").copy_(_rounded(x.mean(1)))
        norm.get_buffer("running_var").copy_(_rounded(x.var(1, correction=0)))

    hooks = [m.register_forward_pre_hook(settle) for m in model.modules() if isinstance(m, _BatchNorm)]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()


def _images() -> Tensor:
    pixels = np.stack([photographs.load(name)[::_STRIDE, ::_STRIDE] for name in photographs.NAMES])
    return torch.from_numpy(normalise(pixels.transpose(0, 3, 1, 2).astype(np.float64)))


def _rounded(statistics: Tensor) -> Tensor:
    fraction, exponent = np.frexp(statistics.numpy())
    scale = 2.0**_STATISTICS_BITS
    return torch.from_numpy(np.ldexp(np.round(fraction * scale) / scale, exponent))
