"""What a comparison would catch: disturb each layer of the network in turn and see how far its outputs move.

A layer's weights W get noise of standard deviation 0.01 rms(W), drawn from a seed. By the triangle
inequality an artifact with that fault is at least (movement - what it differs by without the fault)
from the reference, so a fault counts as caught where that is more than the tolerance.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

import torch
from torch import Tensor

from evim_deploy.evaluate import Weights, run, step, tensors
from evim_deploy.graph import Graph
from evim_deploy.parity.difference import Array, Outputs, as_logits, rows
from evim_deploy.parity.result import Comparison, Power

DISTURBANCE = 0.01
"""Of a layer's weights, in units of their root mean square."""

MIN_SHARE = 0.9
"""Of the layers in which a disturbance must be seen; a proof that sees fewer ends in a warning."""

_SEED = 0


def movements(
    graph: Graph, images: Array, probabilities: bool, units: Mapping[str, float] | None = None
) -> dict[str, float]:
    """How far the disturbance of each layer moves the outputs, of their range, by the layer's name.

    Args:
        graph: The rewritten network; its layers are the operations that have weights.
        images: What the graph takes, (B, 3, H, W).
        probabilities: Whether its output is probabilities, to be compared as logits.
        units: The :func:`~evim_deploy.parity.difference.ranges` of the comparison that this is about.
    """
    batch = torch.from_numpy(images)
    weights = tensors(graph, batch.dtype)
    values = run(graph, batch, weights)
    generator = torch.Generator().manual_seed(_SEED)

    def outputs(found: Mapping[str, Tensor]) -> Outputs:
        arrays = {name: found.get(value, values[value]) for name, value in graph.outputs.items()}
        tiny = torch.finfo(batch.dtype).tiny
        return {n: as_logits(array.numpy(), tiny) if probabilities else array.numpy() for n, array in arrays.items()}

    expected, names = outputs(values), [str(index) for index in range(len(batch))]
    moved = {}
    for index, node in enumerate(graph.nodes):
        if node.weights:
            changed = _after(graph, index, disturbed(weights[node.name], DISTURBANCE, generator), weights, values)
            moved[node.name] = max(row.max_abs for row in rows(names, expected, outputs(changed), units))
    return moved


def power(moved: Mapping[str, float], comparison: Comparison, size: tuple[int, int]) -> Power:
    """What a comparison would catch, given the :func:`movements` of the network that it is about."""
    needed = comparison.tolerance.max_abs + comparison.measures.max_abs
    visible = {name: DISTURBANCE * needed / movement if movement else float("inf") for name, movement in moved.items()}
    return Power(
        comparison.subject,
        DISTURBANCE,
        size,
        len(moved),
        tuple(name for name, least in visible.items() if not least < DISTURBANCE),
        min(visible.values()),
        max(visible.values()),
    )


def disturbed(weights: Weights, share: float, generator: torch.Generator) -> Weights:
    """A layer's weights with noise, its deviation a share of their root mean square."""
    return {
        name: array + share * array.square().mean().sqrt() * torch.randn(array.shape, generator=generator)
        for name, array in weights.items()
    }


def _after(
    graph: Graph, index: int, disturbed: Weights, weights: Mapping[str, Weights], values: dict[str, Tensor]
) -> Mapping[str, Tensor]:
    """The values that change when one operation has other weights."""
    first, *later = graph.nodes[index:]
    changed: dict[str, Tensor] = step(first, disturbed, values)
    for node in later:
        if not changed.keys().isdisjoint(node.inputs):
            changed.update(step(node, weights[node.name], ChainMap(changed, values)))
    return changed
