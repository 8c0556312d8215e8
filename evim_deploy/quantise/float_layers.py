"""Choice of the layers that stay in floating point so that a quantised classifier keeps its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from evim_deploy.graph.interpreter import evaluate, tensors
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.placement import quantised_values
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import Scheme

Images = Iterable[npt.NDArray[np.float32]]


def choose_float_layers(
    graph: Graph,
    scheme: Scheme,
    qparams: Mapping[str, QuantParams],
    *,
    layers: list[str],
    images: Images,
    allowed_loss: float,
    notify: Callable[[str], None],
) -> tuple[list[str], float]:
    """The layers to keep in floating point, and the resulting loss: percent of the predictions that change.

    Bisection finds how many of the most sensitive layers are enough; then each layer that can be quantised after all
    is removed again.

    Args:
        graph: The rewritten network in floating point, a classifier.
        scheme: Scheme of the precision.
        qparams: Quantisation parameters of all values that the scheme quantises, by name.
        layers: All layers that can be quantised, the most sensitive first.
        images: Inputs of the graph, (B, 3, H, W) each; read more than once.
        allowed_loss: Percent of the predictions that may change.
        notify: Called with one line for each trial.
    """
    expected = list(_predictions(graph, images))

    def loss_of(float_layers: Collection[str]) -> float:
        actual = _predictions(with_float_layers(graph, scheme, qparams, float_layers), images)
        loss = 100 * sum(a != b for a, b in zip(actual, expected, strict=True)) / len(expected)
        notify(f"{len(float_layers)} of {len(layers)} layers in floating point: {loss:.2f} % of predictions change")
        return loss

    loss = loss_of(())
    if loss <= allowed_loss:
        return [], loss
    too_few, count, loss = 0, len(layers), 0.0
    while count - too_few > 1:
        middle = (too_few + count) // 2
        trial = loss_of(layers[:middle])
        if trial <= allowed_loss:
            count, loss = middle, trial
        else:
            too_few = middle
    float_layers = layers[:count]
    for name in reversed(float_layers[:-1]):  # without the last layer it was not enough
        fewer = [other for other in float_layers if other != name]
        trial = loss_of(fewer)
        if trial <= allowed_loss:
            float_layers, loss = fewer, trial
    return float_layers, loss


def with_float_layers(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], float_layers: Collection[str]
) -> Graph:
    """The quantised network with some layers in floating point."""
    values = quantised_values(graph, scheme, float_layers)
    return quantise_graph(graph, scheme, {value: qparams[value] for value in values}, float_layers)


def _predictions(graph: Graph, images: Images) -> Iterator[int]:
    weights = tensors(graph, torch.float32)
    for image in images:
        (output,) = evaluate(graph, torch.from_numpy(image), weights).values()
        yield from output.argmax(1).tolist()
