"""Degenerate parameters in the quantised precisions: each artifact passes its proof, or the network is the cause."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from degenerate import DAMAGES, SIDE, damaged_network, export_result, kind, proof, quantised_target
from simulated import reference_to

import exporters
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.catalog.variants import Variant
from evim_deploy.common.progress import Silent
from evim_deploy.graph.ir import Graph
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove
from evim_deploy.quantise.schemes import SCHEMES

IN_INTEGERS = [name for name, scheme in SCHEMES.items() if scheme.is_calibrated]
OTHERS = [name for name in SCHEMES if name not in IN_INTEGERS]
FEW = 8
"""Variants in each run of the tests; ``python tests/support/degenerate.py`` has all of them, in about an hour."""


@pytest.fixture(scope="module")
def fresh() -> ParityChecker:
    """The checker of an initialised network: its biases are 0, and its values shrink from stage to stage."""
    torch.manual_seed(0)
    model = EfficientViM(
        Variant(name="fresh", depths=(1, 1, 1), channels=(16, 24, 32), states=(5, 4, 3), resolution=SIDE), 10, False
    )
    return ParityChecker(reference_to(model.eval().requires_grad_(False)), SIDE)


def precisions(seed: int) -> Iterator[tuple[str, str]]:
    """Two precisions that compute in integers and one that does not, in turn."""
    yield IN_INTEGERS[seed % len(IN_INTEGERS)]
    yield IN_INTEGERS[(seed + 1) % len(IN_INTEGERS)]
    yield OTHERS[seed % len(OTHERS)]


def test_the_few_have_each_precision_and_most_kinds() -> None:
    assert {name for seed in range(FEW) for name in precisions(seed)} == set(SCHEMES)
    damages = [text for seed in range(FEW) for text in damaged_network(seed)[1]]
    assert len({text.partition(":")[0] for text in damages}) >= len(DAMAGES) // 2
    kinds = {kind(name) for name in damaged_network(0)[0].state_dict()}
    assert kinds >= {"norm weight", "norm bias", "norm running_var", "weight", "weights", "alpha", "A", "D"}


@pytest.mark.parametrize("seed", range(FEW))
def test_a_degenerate_network(seed: int, tmp_path: Path) -> None:
    model, damages = damaged_network(seed)
    checker = ParityChecker(reference_to(model), SIDE)
    for name in precisions(seed):
        result = export_result(checker, *name, tmp_path)
        assert result == "pass" or (name[0] == "coreml" and result.startswith("refused")), (name, damages, result)


@pytest.mark.parametrize("name", IN_INTEGERS, ids=":".join)
def test_an_initialised_network(fresh: ParityChecker, name: tuple[str, str], tmp_path: Path) -> None:
    parity = proof(fresh, *name, tmp_path)
    assert parity.status in (ParityStatus.PASS, ParityStatus.WARNING), parity.reason
    assert {each.status for each in parity.comparisons} == {ParityStatus.PASS}


@pytest.mark.parametrize("name", [name for name in IN_INTEGERS if name != ("coreml", "w8a8")], ids=":".join)
def test_a_wrong_grid_of_such_a_network_fails(fresh: ParityChecker, name: tuple[str, str], tmp_path: Path) -> None:
    reference = fresh.reference
    assert isinstance(reference, GraphReference)
    target = quantised_target(reference, *name)
    graph = reference.stored_form(target)
    value = next(value for value in graph.qparams if value.endswith("ffn.relu"))
    qparams = graph.qparams[value]
    faults = {"scale": replace(qparams, scale=1.1 * qparams.scale)}
    if qparams.qmin == 0:  # with 16 bits engines support only 0
        faults["zero point"] = replace(qparams, zero_point=128)
    for fault, changed in faults.items():
        wrong = Graph(graph.input_name, graph.nodes, graph.outputs, {**graph.qparams, value: changed})
        row = exporters.FORMATS[name[0]]
        path = tmp_path / f"{fault}{row.suffix}"
        exporters.load(row).build(wrong, target, path)
        parity = prove(path, target, fresh, Silent())
        assert parity.status == ParityStatus.FAIL, fault
        assert "ffn" in parity.reason


def test_a_network_that_overflows_is_named_as_the_cause(tmp_path: Path) -> None:
    model, _ = damaged_network(0)
    for parameter in model.parameters():
        parameter.mul_(1e25)
    result = export_result(ParityChecker(reference_to(model), SIDE), "tflite", "int8", tmp_path)
    assert result.startswith("refused: "), result
    assert "Check the weights" in result
