"""The protocols by which a proof knows a network: its published form, its inference form, and a run of either.

A proof of a network that is lowered to our graph and a proof of a network that stays a torch module are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeGuard

import numpy.typing as npt
import torch
from torch import nn

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites.rewrite import RewriteResult
from evim_deploy.images.preprocessing import Preprocessing
from evim_deploy.images.published_transform import Transform

if TYPE_CHECKING:
    from evim_deploy.networks.efficientvim.model import EfficientViM

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
Faults = Iterator[tuple[str, Outputs]]


class Network(Protocol):
    """An inference form in float32, on input images of an artifact."""

    @property
    def anomalies(self) -> Mapping[str, Mapping[str, int]]:
        """Overflows and the like, counted as in an engine's session: none, since float32 holds every value."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the operations with weights, in the order of computation."""

    def run(self, image: Array) -> dict[str, Array]:
        """Outputs by name, (B, ...), of images (B, 3, H, W), computed one image at a time to bound the memory."""

    def perturbed(self, layer: str, share: float, generator: torch.Generator) -> Network:
        """A copy with noise in one layer's weights; its standard deviation is a share of their root mean square."""

    def faults(self, image: Array, share: float, generator: torch.Generator) -> tuple[Outputs, Faults]:
        """The outputs, and for each layer its name and the outputs with the layer :meth:`perturbed`."""


class Reference(Protocol):
    """A network in evaluation mode, which artifacts are made from and compared with."""

    kind: ClassVar[ModelKind]
    """The inference form; the exporters have a table for each kind."""

    @property
    def engine(self) -> str:
        """Name of the engine that computes :meth:`outputs`, for messages."""

    @property
    def weights(self) -> Weights:
        """Origin of the weights."""

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the published evaluation."""

    @property
    def num_classes(self) -> int:
        """Number of classes of the classifier."""

    def rewrite_results(self, target: Target) -> list[RewriteResult]:
        """The result of each rewrite on the way to the inference form."""

    def stored_form(self, target: Target) -> Graph | nn.Module:
        """The inference form with the target's output, its weights as the target's precision stores them."""

    def network(self, target: Target) -> Network:
        """The inference form in float32."""

    def simulated_network(self, target: Target) -> Network:
        """The :meth:`stored_form`, computed in float32."""

    @property
    def activation(self) -> str:
        """Function from logits to probabilities, a key of :data:`~evim_deploy.common.numerics.ACTIVATIONS`."""

    @property
    def classifier_outputs(self) -> tuple[str, ...]:
        """Outputs that the classifier can have, of ``logits`` and ``probabilities``."""

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        """The outputs of the published network by name, in float32.

        Args:
            task: ``classify`` returns :attr:`classifier_outputs`, (B, classes); ``features`` the maps (B, D, h, w).
            images: Normalised images (B, 3, H, W), float32.
            batch: Images computed together. One bounds the memory, more are faster where images are small; the outputs
                differ by float32 rounding alone.
        """

    def transform(self, height: int, width: int) -> Transform:
        """The published evaluation's own transform, from an image to an input (3, H, W) of :meth:`outputs`.

        Raises:
            NotInstalled: The library with the transform is missing.
        """

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array) -> dict[str, Array]:
        """The same outputs, computed by PyTorch in another floating-point type.

        Raises:
            RuntimeError: A part of the network computes in a fixed type.
        """


class LoweredReference(Reference, Protocol):
    """A reference of kind ``graph``: a proof can compare it with an artifact operation by operation."""

    @property
    def model(self) -> EfficientViM:
        """The published network, in evaluation mode."""

    def inference(self, target: Target) -> Graph:
        """The inference form in floating point, rewritten as the target's precision needs it."""

    def stored_form(self, target: Target) -> Graph:
        """The same, its weights as the target's precision stores them."""


def is_lowered(reference: Reference) -> TypeGuard[LoweredReference]:
    """Whether the inference form of a reference is our graph."""
    return reference.kind == ModelKind.GRAPH
