"""A network as an artifact has it: with the normalisation before it and the softmax after it, where asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Activation
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.networks.torch_module.half_constants import HalfNumbers


class ExportWrapper(nn.Module):
    """Takes what the artifact takes, (B, 3, H, W), and gives its one output (B, classes).

    Args:
        network: Takes normalised images (B, 3, H, W).
        gives: What it gives, ``logits`` or ``probabilities``.
        preprocessing: How it is evaluated.
        target: Says what the artifact takes and gives.

    Raises:
        ValueError: The target's output cannot be made of what the network gives.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, network: nn.Module, gives: str, preprocessing: Preprocessing, target: Target) -> None:
        super().__init__()
        if (gives, target.output) == ("probabilities", "logits"):
            raise ValueError("logits cannot be made of probabilities")
        self.network = network
        self.numbers: Callable[[], AbstractContextManager[Any]] = nullcontext  # what becomes of those in its code
        self.normalises = target.preprocess and not preprocessing.keeps_pixels
        self.activation = None if target.output == gives else _ACTIVATIONS[target.activation]
        if self.normalises:
            # 255 (x / 255 - mean) / (255 std); a buffer of the name `mean` would be found before a tensor's method
            self.register_buffer("pixel_mean", _per_channel(preprocessing.mean))
            self.register_buffer("pixel_scale", 1 / _per_channel(preprocessing.std))

    def forward(self, image: Tensor) -> Tensor:
        with self.numbers():
            if self.normalises:
                image = (image - self.pixel_mean) * self.pixel_scale
            answer: Tensor = self.network(image)
            return self.activation(answer) if self.activation else answer


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    Activation.SOFTMAX: partial(torch.softmax, dim=-1),
    Activation.SIGMOID: torch.sigmoid,
}


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    """In pixels, (3, 1, 1)."""
    return 255 * torch.tensor(values).view(3, 1, 1)


def rounded(servable: ExportWrapper) -> ExportWrapper:
    """A copy in float32 whose weights, and the numbers in its code, are values that float16 has."""
    copied = deepcopy(servable).half().float()
    copied.numbers = HalfNumbers
    return copied
