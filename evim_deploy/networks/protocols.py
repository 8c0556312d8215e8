"""What a proof knows of a network: its published form, its inference form, and a run of either.

A proof imports these protocols alone, so a network that is lowered to our graph and one that stays a torch module are
proven alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy.typing as npt
import torch

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.graph.rewrites.rewrite import RewriteResult
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.images.published_transform import Transform

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
Faults = Iterator[tuple[str, Outputs]]


class Network(Protocol):
    """A network that computes in float32 on images as an artifact takes them."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]:
        """As an engine's session has them: none, since float32 holds what is computed."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the operations that have weights, in the order of their computation."""

    def run(self, image: Array) -> dict[str, Array]:
        """Outputs by name, (B, ...), of images (B, 3, H, W); one at a time, which bounds the memory."""

    def perturbed(self, layer: str, share: float, generator: torch.Generator) -> Network:
        """The same network with noise in one layer's weights, its deviation a share of their root mean square."""

    def faults(self, image: Array, share: float, generator: torch.Generator) -> tuple[Outputs, Faults]:
        """Outputs, and those after each layer in turn was disturbed so, with the layer's name."""


class Reference(Protocol):
    """A network in evaluation mode, of which a proof knows this much alone.

    Attributes:
        kind: The inference form that :meth:`stored` returns.
    """

    kind: ClassVar[ModelKind]

    @property
    def engine(self) -> str:
        """What computes :meth:`outputs`, as messages name it."""

    @property
    def weights(self) -> Weights:
        """Where they come from."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How the network is evaluated."""

    @property
    def num_classes(self) -> int:
        """Of its heads."""

    def outcomes(self, target: Target) -> list[RewriteResult]:
        """What each rewrite did on the way to the inference form."""

    def stored(self, target: Target) -> Any:
        """The inference form that ends in the target's output, its weights as the target's precision stores them."""

    def network(self, target: Target) -> Network:
        """The inference form in float32."""

    def simulated_network(self, target: Target) -> Network:
        """The inference form in float32, its weights rounded as they are stored."""

    @property
    def activation(self) -> str:
        """What makes probabilities of its logits, a key of :data:`~evim_deploy.common.numerics.ACTIVATIONS`."""

    @property
    def classifier_outputs(self) -> tuple[str, ...]:
        """The outputs that its classifier can have, of ``logits`` and ``probabilities``."""

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        """The outputs of the network as published, by name, in float32, for normalised images (B, 3, H, W).

        Args:
            task: ``classify`` gives :attr:`classifier_outputs`, (B, classes); ``features`` the maps (B, D, h, w).
            images: As the network takes them.
            batch: The most images that are computed together. One bounds the memory, more are faster where images are
                small; an output is then the same but for float32's rounding.
        """

    def transform(self, height: int, width: int) -> Transform:
        """The published evaluation's own transform, from an image to what :meth:`outputs` takes of it (3, H, W).

        Raises:
            NotInstalled: The library that has it is missing.
        """

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array) -> dict[str, Array]:
        """The same in PyTorch, computed in another floating-point type.

        Raises:
            RuntimeError: A part of the network computes in a fixed type.
        """
