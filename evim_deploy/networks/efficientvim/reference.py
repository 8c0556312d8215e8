"""The reference of EfficientViM: the published network, and its inference form as a graph."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch

from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.terms import Activation, ArtifactFormat, ModelKind, Precision, Task
from evim_deploy.common.numerics import with_probabilities
from evim_deploy.graph.half_precision import round_to_half
from evim_deploy.graph.rewrites import SPREAD_TOKEN_WEIGHTS, RewriteResult, reparameterise, run
from evim_deploy.images.preprocessing import PAPER, Preprocessing
from evim_deploy.images.published_transform import Transform, published_transform
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.networks.protocols import Array
from evim_deploy.networks.runnable import GraphNetwork
from evim_deploy.quantise.equalisation import equalise
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import find_scheme

if TYPE_CHECKING:
    from evim_deploy.graph.ir import Graph
    from evim_deploy.networks.efficientvim.model import EfficientViM

Rewritten = tuple["Graph", list[RewriteResult]]


@dataclass(kw_only=True)
class GraphReference:
    """EfficientViM, whose inference form is a graph.

    Attributes:
        model: The network as the paper defines it, in evaluation mode.
        weights: Origin of its weights.
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
    _quantised: dict[tuple[object, ...], Graph] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def rewritten(self, target: Target) -> Rewritten:
        """The network up to the target's output, rewritten, and the results of the rewrites.

        It is the same for all formats, precisions and sizes, except that Core ML, which adds in float16, needs one
        more rewrite.
        """
        key = target.task, target.output, target.preprocess
        if key not in self._rewritten:
            self._rewritten[key] = reparameterise(lower(self.model, *key))
        if target.format != ArtifactFormat.COREML:
            return self._rewritten[key]
        if key not in self._spread:
            graph, results = self._rewritten[key]
            graph = graph.copy()
            self._spread[key] = graph, [*results, run(SPREAD_TOKEN_WEIGHTS, graph)]
        return self._spread[key]

    def rewrite_results(self, target: Target) -> list[RewriteResult]:
        return self.rewritten(target)[1]

    def inference(self, target: Target) -> Graph:
        """The rewritten network in floating point, prepared for integer operations and equalised."""
        graph, _ = self.rewritten(target)
        scheme = find_scheme(target.format, target.precision)
        for prepare in scheme.prepare if scheme else ():
            graph = prepare(graph)
        return equalise(graph, dict(target.quantisation.equalisation_exponents)) if target.quantisation else graph

    def stored_form(self, target: Target) -> Graph:
        scheme = find_scheme(target.format, target.precision)
        if scheme is None:
            graph, _ = self.rewritten(target)
            return round_to_half(graph) if target.precision == Precision.FP16 else graph
        quantisation = target.quantisation
        assert quantisation is not None, "the target must be calibrated first"
        key = target.task, target.output, target.preprocess, target.format, target.precision, quantisation
        if key not in self._quantised:
            self._quantised[key] = quantise_graph(
                self.inference(target), scheme, dict(quantisation.qparams), quantisation.float_layers
            )
        return self._quantised[key]

    def network(self, target: Target) -> GraphNetwork:
        return GraphNetwork(self.rewritten(target)[0])

    def simulated_network(self, target: Target) -> GraphNetwork:
        return GraphNetwork(self.stored_form(target))

    def outputs(self, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        return self.outputs_in(torch.float32, task, images, batch)

    def outputs_in(self, dtype: torch.dtype, task: str, images: Array, batch: int = 1) -> dict[str, Array]:
        names = FEATURE_OUTPUTS if task == Task.FEATURES else ("logits",)
        model = self.model if dtype == torch.float32 else deepcopy(self.model).to(dtype)
        with torch.no_grad():
            batches = [torch.from_numpy(images[i : i + batch]).to(dtype) for i in range(0, len(images), batch)]
            rows = [model.features(x) if task == Task.FEATURES else [model(x)] for x in batches]
        outputs = {n: torch.cat(column).numpy() for n, column in zip(names, zip(*rows, strict=True), strict=True)}
        return outputs if task == Task.FEATURES else with_probabilities(outputs["logits"])

    def transform(self, height: int, width: int) -> Transform:
        return published_transform(self.preprocessing, height, width)
