"""A network with its weights, before any rewrite."""

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
    """An opened network.

    Attributes:
        original: The published network, from normalised images (B, 3, H, W) to ``probabilities``, and to ``logits``
            where they are known, (B, classes) in float32.
        module: The same network as a torch module, in evaluation mode and without gradients, unfolded.
        output: The output of the module: ``logits``, or ``probabilities`` where the logits are not known.
        activation: Function from logits to probabilities, a key of :data:`~evim_deploy.common.numerics.ACTIVATIONS`.
        preprocessing: Preprocessing of the published evaluation.
        num_classes: Number of classes.
        weights: Origin of the weights.
        transform: The published evaluation's own transform for a height and width; None for a network without one, such
            as an ONNX file.
        engine: Name of the engine that computes ``original``, for messages.
    """

    original: Callable[[Array], Mapping[str, Array]]
    module: nn.Module
    output: str = "logits"
    activation: str = Activation.SOFTMAX
    preprocessing: Preprocessing
    num_classes: int
    weights: Weights
    transform: Callable[[int, int], Transform] | None = None
    engine: str = "PyTorch"
