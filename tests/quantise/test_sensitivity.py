"""The sensitivity of a layer is the noise of quantising it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quantisation import INTEGERS, logits, photographs, snr_db

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.float_layers import with_float_layers
from evim_deploy.quantise.placement import quantisable_layers
from evim_deploy.quantise.sensitivity import sensitivity


def test_a_layer_with_a_coarse_scale_is_the_most_sensitive(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    name = next(node.name for node in graph.nodes if "stages.1" in node.name and "residual3" in node.name)
    coarse = {**qparams, name: replace(qparams[name], scale=64 * qparams[name].scale)}
    ratios = sensitivity(graph, INTEGERS, coarse, photographs())
    assert set(ratios) == set(quantisable_layers(graph, INTEGERS))
    assert list(ratios.values()) == sorted(ratios.values())
    assert next(iter(ratios)) in {name, *(node.name for node in graph.consumers(name))}


def test_sensitivity_agrees_with_quantising_a_single_layer(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    ratios = sensitivity(graph, INTEGERS, qparams, photographs())
    name = list(ratios)[len(ratios) // 2]
    alone = with_float_layers(graph, INTEGERS, qparams, [other for other in ratios if other != name])
    assert ratios[name] == pytest.approx(snr_db(logits(graph), logits(alone)), abs=0.1)
