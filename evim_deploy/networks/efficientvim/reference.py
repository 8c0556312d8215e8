"""EfficientViM as a reference: the published network, and its inference form as our graph."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import Activation, ModelKind
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.graph.half_precision import rounded
from evim_deploy.graph.rewrites import SPREAD_TOKEN_WEIGHTS, RewriteResult, reparameterise, run
from evim_deploy.images.preprocessing import PAPER, Preprocessing
from evim_deploy.images.published_transform import Transform, published_transform
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.quantise.apply import quantised
from evim_deploy.quantise.equalisation import equalised
from evim_deploy.quantise.schemes import scheme

if TYPE_CHECKING:
    from evim_deploy.graph.ir import Graph
    from evim_deploy.networks.efficientvim.model import EfficientViM

Rewritten = tuple["Graph", list[RewriteResult]]


@dataclass(kw_only=True)
class GraphReference:
    """EfficientViM, whose inference form is our graph.

    Attributes:
        model: The network as the paper defines it, in evaluation mode.
        weights: Where they come from.
    """

    kind: ClassVar[ModelKind] = ModelKind.GRAPH
    engine: ClassVar[str] = "PyTorch"
    preprocessing: ClassVar[Preprocessing] = PAPER
    activation: ClassVar[str] = Activation.SOFTMAX
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

    def outcomes(self, target: Target) -> list[RewriteResult]:
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
                self.inference(target), found, dict(target.quantisation.qparams), target.quantisation.kept
            )
        return self._quantised[key]

    def network(self, target: Target) -> GraphNetwork:
        return GraphNetwork(self.rewritten(target)[0])

    def simulated_network(self, target: Target) -> GraphNetwork:
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
