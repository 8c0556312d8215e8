"""A rewritten tiny network and its calibration, which the tests of quantisation share."""

from __future__ import annotations

import pytest
from networks import random_tiny
from quantisation import INTEGERS, photographs

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.networks.efficientvim.lowering import lower
from evim_deploy.quantise.calibration import calibrate


@pytest.fixture(scope="session")
def graph() -> Graph:
    return reparameterise(lower(random_tiny(0).float(), "classify", "logits", preprocess=True))[0]


@pytest.fixture(scope="session")
def qparams(graph: Graph) -> dict[str, QuantParams]:
    return calibrate(graph, INTEGERS, photographs(), pixels=True)
