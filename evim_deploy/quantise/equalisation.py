"""Cross-layer equalisation: similar ranges of the channels between two convolutions, which share a scale.

Dividing the output channels of a convolution by scales is undone by its only consumer, another convolution. Powers of
two keep every weight as exact as it was. The scale of a channel is sqrt(r1 / r2), where r1 is the channel's largest
magnitude on images and r2 the largest magnitude of the weights that consume it, so that both share the spread; r2 is 1
for a depthwise convolution, whose weights have a scale per channel anyway.

Sources: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction (ICCV 2019), section 4.1;
Xiao et al., SmoothQuant (ICML 2023), equation 4 with an exponent of one half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.graph.interpreter import tensors
from evim_deploy.graph.ir import RESCALED, Graph, Node
from evim_deploy.graph.ops import validate
from evim_deploy.graph.quantised import Array
from evim_deploy.quantise.calibration import compute_values

Exponents = Mapping[str, tuple[int, ...]]
"""Binary logarithms of the scales that divide the output channels (O) of a convolution, by its name."""

_SMALLEST_RANGE = 1e-3
"""Smallest range of a channel that is equalised, relative to the largest: a channel near 0 is not scaled up to it."""


def equalised_pairs(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Each convolution whose only consumer is another convolution, and that consumer."""
    for node in graph.nodes:
        consumer = graph.sole_consumer(node.name) if node.op == "conv" else None
        if (
            consumer is not None
            and consumer.op == "conv"
            and (consumer.is_depthwise or consumer.integer("groups") == 1)
        ):
            yield node, consumer


def equalisation_exponents(graph: Graph, images: Iterable[npt.NDArray[np.float32]]) -> dict[str, tuple[int, ...]]:
    """Exponents of the scales that equalise the channels' ranges on images.

    Args:
        graph: The rewritten network in floating point.
        images: Inputs of the graph, (B, 3, H, W) each; read once.

    Raises:
        BadInput: The network overflows float32.
    """
    ranges = {first.name: np.zeros(len(first.weights["kernel"])) for first, _ in equalised_pairs(graph)}
    weights = tensors(graph, torch.float32)
    for image in images:
        for name, value in compute_values(graph, weights, torch.from_numpy(image)):
            if name in ranges:
                ranges[name] = np.maximum(ranges[name], value.abs().amax((0, 2, 3)).double().numpy())
    return {first.name: _exponents(ranges[first.name], second) for first, second in equalised_pairs(graph)}


def _exponents(ranges: Array, second: Node) -> tuple[int, ...]:
    weights = np.ones_like(ranges) if second.is_depthwise else np.abs(second.weights["kernel"]).max((0, 2, 3))
    logarithms = (_log2(ranges) - _log2(weights)) / 2
    return tuple(int(exponent) for exponent in np.rint(logarithms - logarithms.mean()))


def _log2(ranges: Array) -> Array:
    return np.log2(np.maximum(ranges, max(_SMALLEST_RANGE * ranges.max(), float(np.finfo(np.float32).tiny))))


def equalise(graph: Graph, exponents: Exponents) -> Graph:
    """The same network with scaled channels between some convolutions; the name of a scaled value has a suffix.

    Raises:
        ValueError: The exponents belong to another graph.
    """
    equalised = graph.copy()
    for name, powers in exponents.items():
        first = equalised.producer(name)
        second = equalised.sole_consumer(name)
        if first is None or second is None or second.op != "conv" or len(powers) != len(first.weights["kernel"]):
            raise ValueError(f"{name} is not a convolution of {len(powers)} channels before another convolution")
        scale = np.exp2(np.array(powers, dtype=np.float64))
        divided = {
            weight: array / scale.reshape(-1, *(1,) * (array.ndim - 1)) for weight, array in first.weights.items()
        }
        renamed = replace(first.with_weights(**divided), outputs=(f"{name}{RESCALED}",))
        scale = scale.reshape((-1, 1, 1, 1) if second.is_depthwise else (1, -1, 1, 1))
        multiplied = second.with_weights(kernel=second.weights["kernel"] * scale)
        equalised.substitute(first, renamed)
        equalised.substitute(second, replace(multiplied, inputs=renamed.outputs))
    validate(equalised)
    return equalised
