"""A graph that runs in PyTorch, unchanged or with perturbed weights in one layer."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from evim_deploy.graph.fixed_point import requantisation_error_bound
from evim_deploy.graph.interpreter import Weights, evaluate, fake_quantise, round_to, run, step, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.networks.protocols import Array, Faults, Outputs


class GraphNetwork:
    """A graph in PyTorch.

    Args:
        graph: The graph.
        weights: Its weights as tensors; by default its own in float32.
    """

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, graph: Graph, weights: Mapping[str, Weights] | None = None) -> None:
        self._graph = graph
        self._weights = weights or tensors(graph, torch.float32)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(node.name for node in self._graph.nodes if node.weights)

    def run(self, image: Array) -> dict[str, Array]:
        each = [evaluate(self._graph, torch.from_numpy(image[i : i + 1]), self._weights) for i in range(len(image))]
        return {name: np.concatenate([outputs[name].numpy() for outputs in each]) for name in self._graph.outputs}

    def perturbed(self, layer: str, share: float, generator: torch.Generator) -> GraphNetwork:
        return GraphNetwork(self._graph, {**self._weights, layer: noisy(self._weights[layer], share, generator)})

    def visible(self, image: Array, share: float, generator: torch.Generator) -> Iterator[tuple[str, float]]:
        """The visibility of noise in each layer's weights in that layer's own output, by the layer's name.

        Above 1 some output is rounded to an integer that rounding errors do not explain; an output that is not
        quantised changes by more than float32 explains.
        """
        values, qparams = run(self._graph, torch.from_numpy(image), self._weights), self._graph.qparams
        for node in self._graph.nodes:
            if node.weights:
                exact = step(node, self._weights[node.name], values)[node.name]
                perturbed = step(node, noisy(self._weights[node.name], share, generator), values)[node.name]
                clip = self._graph.sole_consumer(node.name)
                is_clipped = node.name not in qparams and clip is not None and clip.op == "relu"
                if is_clipped:
                    exact, perturbed = exact.relu(), perturbed.relu()
                output = qparams.get(clip.name if clip is not None and is_clipped else node.name)
                rounding = requantisation_error_bound(node, qparams, output) if output else 0.0
                yield node.name, _visibility(exact, perturbed, output, rounding)

    def faults(self, image: Array, share: float, generator: torch.Generator) -> tuple[Outputs, Faults]:
        """The outputs, and those with noise in each layer; only the operations after the layer are computed again."""
        values = run(self._graph, torch.from_numpy(image), self._weights)

        def outputs(changed: Mapping[str, Tensor]) -> Outputs:
            return {name: changed.get(value, values[value]).numpy() for name, value in self._graph.outputs.items()}

        layers = ((index, node) for index, node in enumerate(self._graph.nodes) if node.weights)
        return outputs({}), (
            (node.name, outputs(self._after(index, noisy(self._weights[node.name], share, generator), values)))
            for index, node in layers
        )

    def _after(self, index: int, weights: Weights, values: dict[str, Tensor]) -> Mapping[str, Tensor]:
        """The values that change when the operation at an index has other weights."""
        first, *later = self._graph.nodes[index:]
        qparams = self._graph.qparams
        changed: dict[str, Tensor] = fake_quantise(step(first, weights, values), qparams)
        for node in later:
            if not changed.keys().isdisjoint(node.inputs):
                changed.update(fake_quantise(step(node, self._weights[node.name], ChainMap(changed, values)), qparams))
        return changed


_FLOAT32 = 1e-4
"""A change, relative to a layer's largest value, that float32's rounding does not explain."""

_CLEAR = 1.01
"""The factor by which a change must exceed the explained error: in float32 a tie may appear exceeded."""


def _visibility(exact: Tensor, perturbed: Tensor, qparams: QuantParams | None, rounding: float) -> float:
    """The largest change of a layer's output, in units of the smallest visible one.

    Among many values some are close to the middle between two integers, so that the smallest change beyond the
    explained error flips them; among few values it may take a whole step.

    Args:
        exact: The output.
        perturbed: The output with noise in the weights, of the same shape.
        qparams: The output's quantisation parameters; None if it is not quantised.
        rounding: The explained error.
    """
    if qparams is None:
        return float((perturbed - exact).abs().max() / (_FLOAT32 * exact.abs().max() or 1.0))
    exact, perturbed = exact.clamp(*qparams.range), perturbed.clamp(*qparams.range)
    is_visible = bool(((round_to(qparams, perturbed) - exact).abs() > rounding * _CLEAR).any())
    smallest = rounding * _CLEAR + (-1 if is_visible else 1) * qparams.scale / 2
    return float((perturbed - exact).abs().max()) / smallest


def noisy(weights: Weights, share: float, generator: torch.Generator) -> Weights:
    """A layer's weights with Gaussian noise of ``share`` times their root mean square."""
    return {
        name: array + share * array.square().mean().sqrt() * torch.randn(array.shape, generator=generator)
        for name, array in weights.items()
    }
