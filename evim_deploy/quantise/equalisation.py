"""Bring the channels between two convolutions to like ranges, so that one grid fits them all.

A convolution that is alone in taking another's values undoes whatever factor that gives each channel. Powers of two
keep every weight as exact as it was. The factor of a channel is sqrt(r1 / r2), where r1 is the largest magnitude that
was seen in it and r2 that of the weights that it meets, so that neither gets all of the spread; of a depthwise
convolution, whose weights have a scale for each channel anyway, r2 is 1.

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
from evim_deploy.quantise.calibration import values

Exponents = Mapping[str, tuple[int, ...]]
"""Of two, by the name of a convolution, what each of its output channels (O) is divided by."""

_LEAST = 1e-3
"""Of the largest range: a channel that is next to nothing is not blown up to it."""


def pairs(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Each convolution whose values another alone takes, and that other."""
    for node in graph.nodes:
        user = graph.sole_consumer(node.name) if node.op == "conv" else None
        if user is not None and user.op == "conv" and (user.is_depthwise or user.integer("groups") == 1):
            yield node, user


def find_exponents(graph: Graph, images: Iterable[npt.NDArray[np.float32]]) -> dict[str, tuple[int, ...]]:
    """What to divide channels by.

    Args:
        graph: Rewritten, in floating point.
        images: As the graph takes them, (B, 3, H, W) each; read once.
    """
    found = {first.name: np.zeros(len(first.weights["kernel"])) for first, _ in pairs(graph)}
    weights = tensors(graph, torch.float32)
    for image in images:
        for name, value in values(graph, weights, torch.from_numpy(image)):
            if name in found:
                found[name] = np.maximum(found[name], value.abs().amax((0, 2, 3)).double().numpy())
    return {first.name: _exponents(found[first.name], second) for first, second in pairs(graph)}


def _exponents(seen: Array, second: Node) -> tuple[int, ...]:
    meets = np.ones_like(seen) if second.is_depthwise else np.abs(second.weights["kernel"]).max((0, 2, 3))
    logarithms = (_log2(seen) - _log2(meets)) / 2
    return tuple(int(exponent) for exponent in np.rint(logarithms - logarithms.mean()))


def _log2(ranges: Array) -> Array:
    return np.log2(np.maximum(ranges, max(_LEAST * ranges.max(), float(np.finfo(np.float32).tiny))))


def equalised(graph: Graph, exponents: Exponents) -> Graph:
    """The same network with other units between some convolutions; a value in other units says so in its name.

    Raises:
        ValueError: They are not those of this graph.
    """
    changed = graph.copy()
    for name, powers in exponents.items():
        first = changed.producer(name)
        second = changed.sole_consumer(name)
        if first is None or second is None or second.op != "conv" or len(powers) != len(first.weights["kernel"]):
            raise ValueError(f"{name} is no convolution of {len(powers)} channels before another")
        factor = np.exp2(np.array(powers, dtype=np.float64))
        divided = {
            weight: array / factor.reshape(-1, *(1,) * (array.ndim - 1)) for weight, array in first.weights.items()
        }
        renamed = replace(first.with_weights(**divided), outputs=(f"{name}{RESCALED}",))
        factor = factor.reshape((-1, 1, 1, 1) if second.is_depthwise else (1, -1, 1, 1))
        multiplied = second.with_weights(kernel=second.weights["kernel"] * factor)
        changed.substitute(first, renamed)
        changed.substitute(second, replace(multiplied, inputs=renamed.outputs))
    validate(changed)
    return changed
