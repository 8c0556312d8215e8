"""Which layer of a quantised artifact costs its outputs most.

What an operation of the artifact gives beside what the network in floating point would make of the same inputs is the
noise of that layer alone. Put into the network in floating point at that place, and at no other, it reaches the outputs
as it would in the artifact if everything else were exact; the layer that leaves the least signal to noise there is to
blame.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

import torch
from torch import Tensor

from evim_deploy.common.numerics import signal_to_noise_db
from evim_deploy.graph.interpreter import run, step, tensors
from evim_deploy.graph.ir import Graph

Noise = Mapping[str, Tensor]
"""Of a layer, by the names of the values that it gives."""


def signal_to_noise(signal: Tensor, noise: Tensor) -> float:
    """In dB; infinite where there is no noise, minus infinity where something is not finite."""
    power, lost = (float(values.double().square().sum()) for values in (signal, noise))
    return signal_to_noise_db(power, lost) if power else torch.inf


def output_costs(graph: Graph, pixels: Tensor, noises: Mapping[str, Noise]) -> dict[str, float]:
    """Signal to noise of the outputs, dB, where one layer alone is noisy; by its name, the costliest first.

    Args:
        graph: The network in floating point.
        pixels: What it takes, (B, 3, H, W).
        noises: Of each layer, by the name of the operation that gives its values.
    """
    weights = tensors(graph, torch.float32)
    values = run(graph, pixels.float(), weights)
    ends = list(graph.outputs.values())
    signal = torch.cat([values[end].flatten() for end in ends])
    costs = {}
    for name, noise in noises.items():
        changed = {value: values[value] + lost.float() for value, lost in noise.items()}
        at = next(index for index, node in enumerate(graph.nodes) if node.name == name)
        for node in graph.nodes[at + 1 :]:
            if not changed.keys().isdisjoint(node.inputs):
                changed.update(step(node, weights[node.name], ChainMap(changed, values)))
        found = torch.cat([changed.get(end, values[end]).flatten() for end in ends])
        costs[name] = signal_to_noise(signal, found - signal)
    return dict(sorted(costs.items(), key=lambda item: item[1]))
