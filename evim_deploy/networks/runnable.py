"""Run a graph in PyTorch, as it is and with a fault in a layer."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from evim_deploy.graph.fixed_point import explained
from evim_deploy.graph.interpreter import Weights, evaluate, fake_quantise, round_to, run, step, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.networks.protocols import Array, Faults, Outputs


class GraphNetwork:
    """A graph in PyTorch; ``weights`` are its own, in float32, unless they are given."""

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
        """How clearly noise in each layer's weights is seen in what that layer itself gives, by its name.

        Above 1 some value is rounded to a code that nothing explains; where values have no grid, one moves by more than
        float32 explains.
        """
        values, qparams = run(self._graph, torch.from_numpy(image), self._weights), self._graph.qparams
        for node in self._graph.nodes:
            if node.weights:
                sound = step(node, self._weights[node.name], values)[node.name]
                moved = step(node, noisy(self._weights[node.name], share, generator), values)[node.name]
                clip = self._graph.sole_consumer(node.name)
                is_clipped = node.name not in qparams and clip is not None and clip.op == "relu"
                if is_clipped:
                    sound, moved = sound.relu(), moved.relu()
                grid = qparams.get(clip.name if clip is not None and is_clipped else node.name)
                yield node.name, _clearness(sound, moved, grid, explained(node, qparams, grid) if grid else 0.0)

    def faults(self, image: Array, share: float, generator: torch.Generator) -> tuple[Outputs, Faults]:
        """Only what follows a layer is computed anew."""
        values = run(self._graph, torch.from_numpy(image), self._weights)

        def outputs(changed: Mapping[str, Tensor]) -> Outputs:
            return {name: changed.get(value, values[value]).numpy() for name, value in self._graph.outputs.items()}

        layers = ((index, node) for index, node in enumerate(self._graph.nodes) if node.weights)
        return outputs({}), (
            (node.name, outputs(self._after(index, noisy(self._weights[node.name], share, generator), values)))
            for index, node in layers
        )

    def _after(self, index: int, weights: Weights, values: dict[str, Tensor]) -> Mapping[str, Tensor]:
        """The values that change when one operation has other weights."""
        first, *later = self._graph.nodes[index:]
        qparams = self._graph.qparams
        changed: dict[str, Tensor] = fake_quantise(step(first, weights, values), qparams)
        for node in later:
            if not changed.keys().isdisjoint(node.inputs):
                changed.update(fake_quantise(step(node, self._weights[node.name], ChainMap(changed, values)), qparams))
        return changed


_FLOAT32 = 1e-4
"""Of a layer's largest value, which no rounding of float32 explains."""

_CLEAR = 1.01
"""By how much more than what is explained a value has to move: float32 takes no tie for one."""


def _clearness(sound: Tensor, moved: Tensor, grid: QuantParams | None, unseen: float) -> float:
    """By how much a value moves, in units of what has to be exceeded for that to be seen.

    Of many values some lie next to the middle between two codes, and the least movement beyond what is explained gives
    them another; of few it may take a whole step.
    """
    if grid is None:
        return float((moved - sound).abs().max() / (_FLOAT32 * sound.abs().max() or 1.0))
    sound, moved = sound.clamp(*grid.range), moved.clamp(*grid.range)
    is_seen = bool(((round_to(grid, moved) - sound).abs() > unseen * _CLEAR).any())
    return float((moved - sound).abs().max()) / (unseen * _CLEAR + (-1 if is_seen else 1) * grid.scale / 2)


def noisy(weights: Weights, share: float, generator: torch.Generator) -> Weights:
    """A layer's weights with noise, its deviation a share of their root mean square."""
    return {
        name: array + share * array.square().mean().sqrt() * torch.randn(array.shape, generator=generator)
        for name, array in weights.items()
    }
