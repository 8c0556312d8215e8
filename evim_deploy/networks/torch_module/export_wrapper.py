"""A network with the parts that an artifact adds: normalisation before it, and an activation after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Activation
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.networks.torch_module.half_constants import HalfNumbers


class ExportWrapper(nn.Module):
    """A module from the artifact's input images (B, 3, H, W) to its output (B, classes).

    Args:
        network: A module from normalised images (B, 3, H, W) to ``output``.
        output: The network's output, ``logits`` or ``probabilities``.
        preprocessing: Preprocessing of the published evaluation.
        target: The artifact, with its input and output.

    Raises:
        ValueError: The target's output cannot be computed from the network's.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, network: nn.Module, output: str, preprocessing: Preprocessing, target: Target) -> None:
        super().__init__()
        if (output, target.output) == ("probabilities", "logits"):
            raise ValueError("logits cannot be computed from probabilities")
        self.network = network
        self.numbers: Callable[[], AbstractContextManager[object]] = nullcontext  # active in forward
        self.normalises = target.preprocess and not preprocessing.keeps_pixels
        self.activation = None if target.output == output else _ACTIVATIONS[target.activation]
        if self.normalises:
            # 255 (x / 255 - mean) / (255 std); a buffer named `mean` would hide a method
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
    """Values of 0-1 in units of pixels 0-255, (3, 1, 1)."""
    return 255 * torch.tensor(values).view(3, 1, 1)


def rounded(wrapper: ExportWrapper) -> ExportWrapper:
    """A copy in float32 whose weights, and the numbers in its code, are rounded to float16."""
    copied = deepcopy(wrapper).half().float()
    copied.numbers = HalfNumbers
    return copied
