"""A network with its weights, before anything is done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from evim_deploy.artifact import Weights
from evim_deploy.network import Array
from evim_deploy.preprocessing import Preprocessing


@dataclass(frozen=True)
class Opened:
    """What opening a network comes to.

    Attributes:
        original: What it computes as published: logits (B, classes) in float32 of normalised images (B, 3, H, W).
        module: The same as a torch module, in evaluation mode and without gradients; nothing is folded yet.
        preprocessing: How it is evaluated: what makes images of pixels.
        num_classes: That it tells apart.
        weights: Where they come from.
        engine: What computes ``original``, as messages name it.
    """

    original: Callable[[Array], Array]
    module: nn.Module
    preprocessing: Preprocessing
    num_classes: int
    weights: Weights
    engine: str = "PyTorch"
