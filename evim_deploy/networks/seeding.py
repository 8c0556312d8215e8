"""Seeded weights: the bounds of the draws, the statistics of BatchNorms, and the hash that names the result."""

from __future__ import annotations

import hashlib
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_STATISTICS_BITS = 8


def fan_in_bound(parameter: Tensor) -> float:
    """The bound b of uniform draws from (-b, b) with variance 1 / fan-in, which keeps the size of a signal.

    Args:
        parameter: A kernel (O, ...).
    """
    return sqrt(3 / parameter[0].numel())


def settle_statistics(model: nn.Module, images: Tensor) -> None:
    """Set the statistics of each BatchNorm, from the first to the last, to those of its input.

    They are rounded to 8 bits, which hides the order in which a machine adds.

    Args:
        model: In evaluation mode and float64.
        images: Normalised images (B, 3, H, W), float64.
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


def state_sha256(model: nn.Module) -> str:
    """SHA-256, in hex, over each tensor's name, shape and little-endian float32 bytes, in order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _rounded(statistics: Tensor) -> Tensor:
    fraction, exponent = np.frexp(statistics.numpy())
    scale = 2.0**_STATISTICS_BITS
    return torch.from_numpy(np.ldexp(np.round(fraction * scale) / scale, exponent))
