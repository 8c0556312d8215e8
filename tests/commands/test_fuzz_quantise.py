"""Degenerate parameters through the quantised precisions: each artifact runs and passes, or the network is blamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from degenerate import DAMAGES, SIDE, drawn, kind, outcome, proof, quantised_target
from told import reference_to

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
"""Variants that are tried each time; ``python tests/support/degenerate.py`` tries all of them, which takes an hour."""


@pytest.fixture(scope="module")
def fresh() -> ParityChecker:
    """Of a network as it is made: biases of exactly 0, and values that vanish from stage to stage."""
    torch.manual_seed(0)
    model = EfficientViM(
        Variant(name="fresh", depths=(1, 1, 1), channels=(16, 24, 32), states=(5, 4, 3), resolution=SIDE), 10, False
    )
    return ParityChecker(reference_to(model.eval().requires_grad_(False)), SIDE)


def precisions(seed: int) -> Iterator[tuple[str, str]]:
    """Two that compute in integers and one that does not, in turn."""
    yield IN_INTEGERS[seed % len(IN_INTEGERS)]
    yield IN_INTEGERS[(seed + 1) % len(IN_INTEGERS)]
    yield OTHERS[seed % len(OTHERS)]


def test_the_few_have_each_precision_and_most_kinds() -> None:
    assert {name for seed in range(FEW) for name in precisions(seed)} == set(SCHEMES)
    told = [text for seed in range(FEW) for text in drawn(seed)[1]]
    assert len({text.partition(":")[0] for text in told}) >= len(DAMAGES) // 2
    kinds = {kind(name) for name in drawn(0)[0].state_dict()}
    assert kinds >= {"norm weight", "norm bias", "norm running_var", "weight", "weights", "alpha", "A", "D"}


@pytest.mark.parametrize("seed", range(FEW))
def test_a_degenerate_network(seed: int, tmp_path: Path) -> None:
    model, told = drawn(seed)
    prover = ParityChecker(reference_to(model), SIDE)
    for name in precisions(seed):
        found = outcome(prover, *name, tmp_path)
        assert found == "pass" or (name[0] == "coreml" and found.startswith("refused")), (name, told, found)


@pytest.mark.parametrize("name", IN_INTEGERS, ids=":".join)
def test_a_network_as_it_is_made(fresh: ParityChecker, name: tuple[str, str], tmp_path: Path) -> None:
    found = proof(fresh, *name, tmp_path)
    assert found.status in (ParityStatus.PASS, ParityStatus.WARNING), found.reason
    assert {each.status for each in found.comparisons} == {ParityStatus.PASS}


@pytest.mark.parametrize("name", [name for name in IN_INTEGERS if name != ("coreml", "w8a8")], ids=":".join)
def test_a_wrong_grid_of_such_a_network_fails(fresh: ParityChecker, name: tuple[str, str], tmp_path: Path) -> None:
    reference = fresh.reference
    assert isinstance(reference, GraphReference)
    target = quantised_target(reference, *name)
    graph = reference.stored(target)
    value = next(value for value in graph.qparams if value.endswith("ffn.relu"))
    grid = graph.qparams[value]
    faults = {"scale": replace(grid, scale=1.1 * grid.scale)}
    if grid.least == 0:  # of 16 bits engines take no other than 0
        faults["zero point"] = replace(grid, zero_point=128)
    for what, changed in faults.items():
        wrong = Graph(graph.input_name, graph.nodes, graph.outputs, {**graph.qparams, value: changed})
        row = exporters.FORMATS[name[0]]
        path = tmp_path / f"{what}{row.suffix}"
        exporters.load(row).build(wrong, target, path)
        found = prove(path, target, fresh, Silent())
        assert found.status == ParityStatus.FAIL, what
        assert "ffn" in found.reason


def test_a_network_that_overflows_is_blamed_itself(tmp_path: Path) -> None:
    model, _ = drawn(0)
    for parameter in model.parameters():
        parameter.mul_(1e25)
    found = outcome(ParityChecker(reference_to(model), SIDE), "tflite", "int8", tmp_path)
    assert found.startswith("refused: "), found
    assert "Check the weights" in found
