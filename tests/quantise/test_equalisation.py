"""Cross-layer equalisation is exact, and reduces the noise of a network with uneven channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantisation import INTEGERS, logits, photographs, snr_db

from evim_deploy.graph.ir import RESCALED, Graph
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.equalisation import equalisation_exponents, equalise, equalised_pairs
from evim_deploy.quantise.quantise_graph import quantise_graph


@pytest.fixture(scope="module")
def uneven(graph: Graph) -> Graph:
    """The same network with channels between two convolutions that differ by up to 2^10."""
    counts = {first.name: len(first.weights["kernel"]) for first, _ in equalised_pairs(graph)}
    return equalise(graph, {name: tuple(np.arange(count) % 11 - 5) for name, count in counts.items()})


def test_equalisation_changes_only_scales(graph: Graph, uneven: Graph) -> None:
    assert torch.allclose(logits(uneven), logits(graph), rtol=1e-5, atol=1e-5)
    renamed = {node.name for node in uneven.nodes} - {node.name for node in graph.nodes}
    assert renamed
    assert all(name.endswith(RESCALED) for name in renamed)


def test_uneven_channels_lose_less_once_equalised(uneven: Graph) -> None:
    even = equalise(uneven, equalisation_exponents(uneven, photographs()))
    ratios = {}
    for name, each in (("uneven", uneven), ("even", even)):
        quantised = quantise_graph(each, INTEGERS, calibrate(each, INTEGERS, photographs(), pixels=True))
        ratios[name] = snr_db(logits(uneven), logits(quantised))
    assert ratios["even"] > ratios["uneven"] + 6, ratios


def test_exponents_of_another_network_are_rejected(graph: Graph) -> None:
    name = next(first.name for first, _ in equalised_pairs(graph))
    with pytest.raises(ValueError, match="is not a convolution of 2 channels"):
        equalise(graph, {name: (1, 2)})
    with pytest.raises(ValueError, match="is not a convolution"):
        equalise(graph, {"heads.3.sum": (1, 2)})
