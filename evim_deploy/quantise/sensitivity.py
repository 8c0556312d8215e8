"""Sensitivity of the outputs to the quantisation of each layer by itself."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.common.numerics import signal_to_noise_db
from evim_deploy.graph.interpreter import Weights, fake_quantise, run, step, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.placement import quantisable_layers, quantised_values
from evim_deploy.quantise.quantise_graph import encode_node
from evim_deploy.quantise.schemes import Scheme

SENSITIVITY_IMAGES = 4
"""Images that each layer is tried on; more take longer, and their noise hardly differs."""


def sensitivity(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], images: Iterable[npt.NDArray[np.float32]]
) -> dict[str, float]:
    """Signal-to-noise ratio of the outputs, dB, where a single layer is quantised; by its name, the lowest first.

    Args:
        graph: The rewritten network in floating point.
        scheme: Scheme of the precision.
        qparams: Quantisation parameters of all values that the scheme quantises, by name.
        images: Inputs of the graph, (B, 3, H, W) each.
    """
    names = quantisable_layers(graph, scheme)
    quantised = {name: _quantise_layer(graph, scheme, qparams, name) for name in names}
    weights = tensors(graph, torch.float32)
    outputs = _outputs(graph)
    signal, noise = 0.0, dict.fromkeys(names, 0.0)
    for image in images:
        values = run(graph, torch.from_numpy(image), weights)
        signal += sum(_power(values[output]) for output in outputs)
        for name, (layer_weights, layer_qparams) in quantised.items():
            changed = _propagate(graph, name, {**weights, name: layer_weights}, values=values, qparams=layer_qparams)
            noise[name] += sum(_power(changed[output] - values[output]) for output in outputs if output in changed)
    ratios = {name: signal_to_noise_db(signal, power) for name, power in noise.items()}
    return dict(sorted(ratios.items(), key=lambda item: item[1]))


def _quantise_layer(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], name: str
) -> tuple[Weights, dict[str, QuantParams]]:
    """A layer's quantised weights, and the quantisation parameters of its inputs and outputs."""
    node = graph.producer(name)
    assert node is not None
    encoded = encode_node(node, scheme, qparams)
    weights = {weight: torch.from_numpy(array).float() for weight, array in encoded.weights.items()}
    others = [other for other in quantisable_layers(graph, scheme) if other != name]
    return weights, {value: qparams[value] for value in quantised_values(graph, scheme, others)}


def _propagate(
    graph: Graph,
    name: str,
    weights: Mapping[str, Weights],
    *,
    values: Mapping[str, Tensor],
    qparams: Mapping[str, QuantParams],
) -> Mapping[str, Tensor]:
    """The values that change where one layer is quantised; its inputs are rounded for all of their consumers."""
    changed: dict[str, Tensor] = fake_quantise({value: values[value] for value in qparams}, qparams)
    for node in graph.nodes:
        if node.name == name:
            changed = {value: rounded for value, rounded in changed.items() if value not in node.outputs}
        if node.name == name or not changed.keys().isdisjoint(node.inputs):
            outputs = step(node, weights[node.name], ChainMap(changed, dict(values)))
            changed.update(fake_quantise(outputs, qparams))
    return changed


def _power(value: Tensor) -> float:
    return float(value.double().square().sum())


def _outputs(graph: Graph) -> list[str]:
    """The outputs; the logits in place of probabilities."""
    producers = [(value, graph.producer(value)) for value in graph.outputs.values()]
    return [
        node.inputs[0] if node is not None and node.op == "softmax_channels" else value for value, node in producers
    ]
