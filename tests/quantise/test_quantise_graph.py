"""The quantised graph is close to the network in floating point, and coarse parameters show."""

from __future__ import annotations

from dataclasses import replace

import torch
from quantisation import INTEGERS, logits, photographs, snr_db

from evim_deploy.graph.interpreter import round_to, run
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.float_layers import with_float_layers
from evim_deploy.quantise.placement import quantisable_layers
from evim_deploy.quantise.qparams import SIXTEEN_BITS
from evim_deploy.quantise.quantise_graph import quantise_graph


def test_values_are_quantised(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    values = run(quantise_graph(graph, INTEGERS, qparams), torch.from_numpy(next(iter(photographs()))))
    for name, each in qparams.items():
        if name in values:
            assert torch.allclose(round_to(each, values[name]), values[name], rtol=0, atol=1e-6 * each.scale)


def test_logits_are_almost_as_in_floating_point(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    assert 15 < snr_db(logits(graph), logits(quantise_graph(graph, INTEGERS, qparams))) < 50


def test_a_scale_that_is_too_coarse_shows(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    coarse = {n: replace(each, scale=32 * each.scale) if "residual" in n else each for n, each in qparams.items()}
    sound, wrong = (snr_db(logits(graph), logits(quantise_graph(graph, INTEGERS, each))) for each in (qparams, coarse))
    assert wrong < sound - 6


def test_the_original_graph_does_not_change(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    before = logits(graph)
    quantise_graph(graph, INTEGERS, qparams)
    assert torch.equal(logits(graph), before)
    assert not graph.qparams
    assert not any(node.encodings for node in graph.nodes)


def test_sixteen_bits_lose_less_than_eight(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    fine = replace(INTEGERS, quant_range=SIXTEEN_BITS)
    sixteen = quantise_graph(graph, fine, calibrate(graph, fine, photographs(), pixels=True))
    eight = quantise_graph(graph, INTEGERS, qparams)
    assert snr_db(logits(graph), logits(sixteen)) > 3 + snr_db(logits(graph), logits(eight))


def test_with_all_layers_in_floating_point_nothing_is_lost(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    unquantised = with_float_layers(graph, INTEGERS, qparams, quantisable_layers(graph, INTEGERS))
    assert torch.equal(logits(unquantised), logits(graph))
