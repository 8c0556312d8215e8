"""Attribute the error of a quantised artifact's outputs to its layers.

The noise of a layer is the difference between the artifact's operation and the floating-point network's on the same
inputs. Added to the floating-point network at that place alone, it reaches the outputs as it would in the artifact if
everything else were exact; the layer that leaves the lowest signal-to-noise ratio there costs most.
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
"""The noise of a layer, by the names of its output values."""


def signal_to_noise(signal: Tensor, noise: Tensor) -> float:
    """The ratio in dB; infinite without noise, minus infinity if a value is not finite."""
    if not bool(noise.isfinite().all() and signal.isfinite().all()):
        return -torch.inf
    power, lost = (float(values.double().square().sum()) for values in (signal, noise))
    return signal_to_noise_db(power, lost) if power else torch.inf


def output_costs(graph: Graph, pixels: Tensor, noises: Mapping[str, Noise]) -> dict[str, float]:
    """Signal-to-noise ratio of the outputs, dB, with one noisy layer each; by its name, the costliest first.

    Args:
        graph: The network in floating point.
        pixels: Its input, (B, 3, H, W).
        noises: The noise of each layer, by the name of the operation that computes its values.
    """
    weights = tensors(graph, torch.float32)
    values = run(graph, pixels.float(), weights)
    ends = list(graph.outputs.values())
    signal = torch.cat([values[end].flatten() for end in ends])
    costs = {}
    for name, noise in noises.items():
        changed = {value: values[value] + lost.float() for value, lost in noise.items()}
        start = next(index for index, node in enumerate(graph.nodes) if node.name == name)
        for node in graph.nodes[start + 1 :]:
            if not changed.keys().isdisjoint(node.inputs):
                changed.update(step(node, weights[node.name], ChainMap(changed, values)))
        noisy = torch.cat([changed.get(end, values[end]).flatten() for end in ends])
        costs[name] = signal_to_noise(signal, noisy - signal)
    return dict(sorted(costs.items(), key=lambda item: item[1]))
