"""As few layers stay in floating point as the allowed loss of accuracy needs."""

from __future__ import annotations

from dataclasses import replace

import torch
from quantisation import INTEGERS, SIDE, photographs

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.quantise.float_layers import choose_float_layers
from evim_deploy.quantise.sensitivity import sensitivity
from evim_deploy.quantise.weight_quantisation import WeightQuantisation


def test_the_number_of_float_layers_depends_on_the_allowed_loss(graph: Graph, qparams: dict[str, QuantParams]) -> None:
    noise = 255 * torch.rand(8, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images = [*photographs(), *noise.numpy()]
    three_bits = replace(INTEGERS, weights=WeightQuantisation(bits=3))
    ratios = sensitivity(graph, three_bits, qparams, images[:4])
    trials: list[str] = []

    def float_layers(allowed_loss: float) -> tuple[list[str], float]:
        return choose_float_layers(
            graph,
            three_bits,
            qparams,
            layers=list(ratios),
            images=images,
            allowed_loss=allowed_loss,
            notify=trials.append,
        )

    none, loss_of_none = float_layers(100)
    assert none == []
    assert loss_of_none > 10, "otherwise no layer needs floating point"
    some, loss_of_some = float_layers(loss_of_none / 2)
    assert 0 < len(some) < len(ratios)
    assert loss_of_some <= loss_of_none / 2
    many, loss_of_many = float_layers(0)
    assert loss_of_many == 0
    assert len(many) >= len(some)
    assert trials
