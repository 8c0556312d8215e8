"""A network with its weights, before anything is done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from evim_deploy.artifact.target import Weights
from evim_deploy.catalog.terms import Activation
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.images.published_transform import Transform
from evim_deploy.networks.protocols import Array


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What opening a network comes to.

    Attributes:
        original: The network as published: ``probabilities``, and ``logits`` where they are known, (B, classes) in
            float32, of normalised images (B, 3, H, W).
        module: The same network as a torch module, in evaluation mode and without gradients; nothing is folded yet.
        gives: What the module computes: ``logits``, or ``probabilities`` where the logits are not known.
        activation: What makes probabilities of its logits, a key of :data:`~evim_deploy.common.numerics.ACTIVATIONS`.
        preprocessing: How it is evaluated: what makes images of pixels.
        num_classes: That it tells apart.
        weights: Where they come from.
        transform: The published evaluation's own transform for images of a height and width; None where nobody
            published one, as of a file.
        engine: What computes ``original``, as messages name it.
    """

    original: Callable[[Array], Mapping[str, Array]]
    module: nn.Module
    gives: str = "logits"
    activation: str = Activation.SOFTMAX
    preprocessing: Preprocessing
    num_classes: int
    weights: Weights
    transform: Callable[[int, int], Transform] | None = None
    engine: str = "PyTorch"
