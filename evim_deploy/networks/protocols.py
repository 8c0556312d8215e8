"""What an artifact is made from and compared with: a network as published, and its inference form."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from evim_deploy.artifact.target import SOFTMAX, Target, Weights
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.graph.half_precision import rounded
from evim_deploy.graph.rewrites import SPREAD_TOKEN_WEIGHTS, Outcome, reparameterise, run
from evim_deploy.images.preprocessing import PAPER, Preprocessing
from evim_deploy.images.published_transform import Transform, published_transform
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.networks.runnable import Array, GraphNetwork, Network
from evim_deploy.proof.stored_weights import compare_weights
from evim_deploy.quantise.apply import quantised
from evim_deploy.quantise.equalisation import equalised
from evim_deploy.quantise.schemes import scheme

if TYPE_CHECKING:
    from evim_deploy.artifact.parity import StoredWeights
    from evim_deploy.artifact.trace import Trace, TracedOperation
    from evim_deploy.graph.ir import Graph
    from evim_deploy.networks.efficientvim.model import EfficientViM
    from evim_deploy.proof.operations import LayerReport

Rewritten = tuple["Graph", list[Outcome]]


class Reference(Protocol):
    """A network in evaluation mode, of which a proof knows this much alone.

    Attributes:
        form: What :meth:`stored` gives, ``graph`` or ``torch_module``: the exporters have a table for each.
    """

    form: ClassVar[str]

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

    def outcomes(self, target: Target) -> list[Outcome]:
        """What each rewrite did on the way to the inference form."""

    def stored(self, target: Target) -> Any:
        """The inference form that ends in the target's output, its weights as the target's precision stores them."""

    def network(self, target: Target) -> Network:
        """The inference form in float32."""

    def stored_network(self, target: Target) -> Network:
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

    def compare_stored(self, target: Target, operations: Sequence[TracedOperation]) -> StoredWeights:
        """The weights in an artifact's file beside those that belong there."""

    def line_up(self, target: Target, trace: Trace, image: Array) -> LayerReport:
        """An artifact's operations beside the network's, on images as the artifact takes them (B, 3, H, W).

        Raises:
            NotRunHere: Nothing says which operation is which.
        """


@dataclass
class GraphReference:
    """EfficientViM, whose inference form is our graph.

    Attributes:
        model: The network as the paper defines it, in evaluation mode.
        weights: Where they come from.
    """

    form: ClassVar[str] = "graph"
    engine: ClassVar[str] = "PyTorch"
    preprocessing: ClassVar[Preprocessing] = PAPER
    activation: ClassVar[str] = SOFTMAX
    classifier_outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities")

    model: EfficientViM
    weights: Weights
    _rewritten: dict[tuple[str, str, bool], Rewritten] = field(default_factory=dict)
    _spread: dict[tuple[str, str, bool], Rewritten] = field(default_factory=dict)
    _quantised: dict[tuple[Any, ...], Graph] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def rewritten(self, target: Target) -> Rewritten:
        """The network that ends in the target's output, and what the rewrites did to it.

        One for all formats, precisions and sizes, but that Core ML's has one rewrite more: it adds in float16.
        """
        key = target.task, target.output, target.preprocess
        if key not in self._rewritten:
            self._rewritten[key] = reparameterise(lower(self.model, *key))
        if target.format != "coreml":
            return self._rewritten[key]
        if key not in self._spread:
            graph, outcomes = self._rewritten[key]
            graph = graph.copy()
            self._spread[key] = graph, [*outcomes, run(SPREAD_TOKEN_WEIGHTS, graph)]
        return self._spread[key]

    def outcomes(self, target: Target) -> list[Outcome]:
        return self.rewritten(target)[1]

    def inference(self, target: Target) -> Graph:
        """The rewritten network as it is quantised, in floating point: in the form and units that integers need."""
        graph, _ = self.rewritten(target)
        found = scheme(target.format, target.precision)
        for prepare in found.prepare if found else ():
            graph = prepare(graph)
        return equalised(graph, dict(target.quantisation.exponents)) if target.quantisation else graph

    def stored(self, target: Target) -> Graph:
        found = scheme(target.format, target.precision)
        if found is None:
            graph, _ = self.rewritten(target)
            return rounded(graph) if target.precision == "fp16" else graph
        assert target.quantisation is not None, "it has to be calibrated first"
        key = target.task, target.output, target.preprocess, target.format, target.precision, target.quantisation
        if key not in self._quantised:
            self._quantised[key] = quantised(
                self.inference(target), found, dict(target.quantisation.grids), target.quantisation.kept
            )
        return self._quantised[key]

    def network(self, target: Target) -> GraphNetwork:
        return GraphNetwork(self.rewritten(target)[0])

    def stored_network(self, target: Target) -> GraphNetwork:
        return GraphNetwork(self.stored(target))

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        return self.outputs_in(torch.float32, task, images, batch)

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        names = FEATURE_OUTPUTS if task == "features" else ("logits",)
        model = self.model if dtype == torch.float32 else deepcopy(self.model).to(dtype)
        with torch.no_grad():
            each = [torch.from_numpy(images[i : i + batch]).to(dtype) for i in range(0, len(images), batch)]
            found = [model.features(image) if task == "features" else [model(image)] for image in each]
        outputs = {n: torch.cat(column).numpy() for n, column in zip(names, zip(*found, strict=True), strict=True)}
        return outputs if task == "features" else with_probabilities(outputs["logits"])

    def transform(self, height: int, width: int) -> Transform:
        return published_transform(self.preprocessing, height, width)

    def compare_stored(self, target: Target, operations: Sequence[TracedOperation]) -> StoredWeights:
        return compare_weights(self.stored(target), operations)

    def line_up(self, target: Target, trace: Trace, image: Array) -> LayerReport:
        from evim_deploy.proof import operations

        return operations.compare(self.model, self.inference(target), self.stored(target), target, trace, image)
