"""What it costs to quantise each layer by itself, and which few to leave in floating point.

A layer's cost is the noise that it alone brings into the outputs, as signal to noise over some images. The layers
that are kept are the costliest, as few as keep the answers to all calibration images within what is allowed.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evim_deploy.graph.interpreter import Weights, evaluate, fake_quantise, run, step, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.apply import encoded, layers, quantised, quantised_values
from evim_deploy.quantise.schemes import Scheme

Image = npt.NDArray[np.float32]

FEW_IMAGES = 4
"""That each layer is tried on; the more images, the longer it takes, and their noise hardly differs."""


def sensitivity(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], images: Iterable[Image]
) -> dict[str, float]:
    """Signal to noise of the outputs, dB, where one layer alone is quantised, by its name; the costliest first.

    Args:
        graph: Rewritten, in floating point.
        scheme: Of the precision.
        grids: Of all values that the scheme rounds.
        images: As the graph takes them, (B, 3, H, W) each.
    """
    names = layers(graph, scheme)
    changed = {name: _alone(graph, scheme, qparams, name, names) for name in names}
    weights = tensors(graph, torch.float32)
    ends = _ends(graph)
    signal, noise = 0.0, dict.fromkeys(names, 0.0)
    for image in images:
        values = run(graph, torch.from_numpy(image), weights)
        signal += _power({end: values[end] for end in ends})
        for name, (layer_weights, layer_grids) in changed.items():
            found = _from(graph, name, {**weights, name: layer_weights}, layer_grids, values)
            noise[name] += sum(
                float((found[end] - values[end]).double().square().sum()) for end in ends if end in found
            )
    with np.errstate(divide="ignore"):
        costs = {name: float(10 * np.log10(signal / np.float64(power))) for name, power in noise.items()}
    return dict(sorted(costs.items(), key=lambda item: item[1]))


def fewest_float_layers(
    graph: Graph,
    scheme: Scheme,
    qparams: Mapping[str, QuantParams],
    costliest: list[str],
    images: Iterable[Image],
    allowed: float,
    notify: Callable[[str], None],
) -> tuple[list[str], float]:
    """The layers to keep in floating point, and what is then lost: percent of the images that are answered otherwise.

    Of the costliest the fewest that will do are sought by bisection; then each that can be spared is.

    Args:
        graph: Rewritten, in floating point, a classifier.
        scheme: Of the precision.
        grids: Of all values that the scheme rounds.
        costliest: All layers, by what they cost.
        images: As the graph takes them, (B, 3, H, W) each; read more than once.
        allowed: Percent of the images that may be answered otherwise.
        notify: Told in one line of each trial.
    """
    expected = list(_answers(graph, images))

    def loss(kept: Collection[str]) -> float:
        found = _answers(with_kept(graph, scheme, qparams, kept), images)
        lost = 100 * sum(a != b for a, b in zip(found, expected, strict=True)) / len(expected)
        notify(f"{len(kept)} of {len(costliest)} layers in floating point: {lost:.2f} % answered otherwise")
        return lost

    enough = loss(())
    if enough <= allowed:
        return [], enough
    too_few, count = 0, len(costliest)
    enough = 0.0
    while count - too_few > 1:
        middle = (too_few + count) // 2
        lost = loss(costliest[:middle])
        if lost <= allowed:
            count, enough = middle, lost
        else:
            too_few = middle
    kept = costliest[:count]
    for name in reversed(kept[:-1]):  # without the last it was not enough
        lost = loss([each for each in kept if each != name])
        if lost <= allowed:
            kept, enough = [each for each in kept if each != name], lost
    return kept, enough


def with_kept(graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], kept: Collection[str]) -> Graph:
    """The quantised network with some layers in floating point."""
    return quantised(graph, scheme, {value: qparams[value] for value in quantised_values(graph, scheme, kept)}, kept)


def _answers(graph: Graph, images: Iterable[Image]) -> Iterator[int]:
    weights = tensors(graph, torch.float32)
    for image in images:
        (output,) = evaluate(graph, torch.from_numpy(image), weights).values()
        yield from output.argmax(1).tolist()


def _alone(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], name: str, names: list[str]
) -> tuple[Weights, dict[str, QuantParams]]:
    """A layer's own quantised weights, and the grids of what it takes and gives."""
    node = graph.producer(name)
    assert node is not None
    stored = encoded(node, scheme, qparams)
    wanted = quantised_values(graph, scheme, kept=[other for other in names if other != name])
    weights = {weight: torch.from_numpy(array).float() for weight, array in stored.weights.items()}
    return weights, {value: qparams[value] for value in wanted}


def _from(
    graph: Graph,
    name: str,
    weights: Mapping[str, Weights],
    qparams: Mapping[str, QuantParams],
    values: Mapping[str, Tensor],
) -> Mapping[str, Tensor]:
    """The values that differ where one layer is quantised: what it takes is rounded for all that take it."""
    changed: dict[str, Tensor] = fake_quantise({value: values[value] for value in qparams}, qparams)
    for node in graph.nodes:
        if node.name == name:
            changed = {value: rounded for value, rounded in changed.items() if value not in node.outputs}
        if node.name == name or not changed.keys().isdisjoint(node.inputs):
            outputs = step(node, weights[node.name], ChainMap(changed, dict(values)))
            changed.update(fake_quantise(outputs, qparams))
    return changed


def _power(values: Mapping[str, Tensor]) -> float:
    return sum(float(value.double().square().sum()) for value in values.values())


def _ends(graph: Graph) -> list[str]:
    """The outputs, of probabilities the logits that they are made of."""
    found = []
    for value in graph.outputs.values():
        node = graph.producer(value)
        found.append(node.inputs[0] if node is not None and node.op == "softmax_channels" else value)
    return found
