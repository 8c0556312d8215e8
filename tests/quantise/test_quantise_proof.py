"""Quantised artifacts are proven, and one wrong code, scale or zero point in any format fails and is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from networks import random_tiny
from told import target_of

import exporters
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.common.progress import Silent
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import Encoding, Palettised
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.schemes import SCHEMES

SIDE = 64
WEIGHTS = "stages.1.blocks.0.ffn.fc1.conv"
PLACE = "stages.1.blocks.0.ffn"
GRID, OTHER_GRID = "stages.1.blocks.0.ffn.relu", "stages.0.blocks.0.ffn.relu"

Fault = Callable[[Graph], Graph]


@dataclass(frozen=True)
class Made:
    """A quantised target, the graph that its artifact is, and who proves it."""

    target: Target
    graph: Graph
    prover: ParityChecker

    def proof(self, folder: Path, fault: Fault = lambda graph: graph) -> Parity:
        """Of an artifact that an exporter with a fault would have written."""
        row = exporters.FORMATS[self.target.format]
        path = folder / f"artifact{row.suffix}"
        exporters.load(row).build(fault(self.graph), self.target, path)
        return prove(path, self.target, self.prover, Silent())


@pytest.fixture(scope="module")
def prover() -> ParityChecker:
    """Of a network in which no two arrays of one operation are of one size: weights are found in a file by that."""
    network = random_tiny(0, channels=(32, 24, 40), states=(7, 6, 4)).float()
    return ParityChecker(GraphReference(model=network, weights=Weights("random:0", False, "")), SIDE)


@pytest.fixture(scope="module", params=SCHEMES, ids=":".join)
def made(request: pytest.FixtureRequest, prover: ParityChecker) -> Made:
    format_, precision = request.param
    scheme, reference = SCHEMES[format_, precision], prover.reference
    assert isinstance(reference, GraphReference)
    target = target_of(format_, precision, size=(SIDE, SIDE))
    target = replace(target, deployment_target=scheme.deployment_target, quantisation=Quantisation())
    if scheme.is_calibrated:
        images = CalibrationImages(
            source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=reference.preprocessing, preprocess=True
        )
        qparams = calibrate(reference.inference(target), scheme, images, pixels=True)
        target = replace(target, quantisation=Quantisation(qparams=tuple(qparams.items())))
    return Made(target, reference.stored(target), prover)


def with_encoding(change: Callable[[Encoding], Encoding]) -> Fault:
    """A graph in which one kernel is stored otherwise."""

    def changed(graph: Graph) -> Graph:
        graph = graph.copy()
        (node,) = (node for node in graph.nodes if node.name == WEIGHTS)
        graph.substitute(node, node.encoded(kernel=change(node.encodings["kernel"])))
        return graph

    return changed


def another_code(encoding: Encoding) -> Encoding:
    """The one of the largest weight, a step nearer to 0."""
    codes = encoding.codes.copy()
    at = np.unravel_index(np.abs(encoding.decoded()).argmax(), codes.shape)
    codes[at] += -1 if encoding.decoded()[at] > 0 else 1
    return replace(encoding, codes=codes)


def another_scale(encoding: Encoding) -> Encoding:
    """A tenth more for one channel, or for one entry of a table."""
    if isinstance(encoding, Palettised):
        table = encoding.table.copy()
        table[np.bincount(encoding.codes.ravel()).argmax()] *= 1.1
        return replace(encoding, table=table)
    scale = encoding.scale.copy()
    scale[0] *= 1.1
    return replace(encoding, scale=scale.astype(np.float16).astype(np.float64))


def with_grid(name: str, **changes: float) -> Fault:
    """A graph in which one value is rounded otherwise."""

    def changed(graph: Graph) -> Graph:
        qparams = {**graph.qparams, name: replace(graph.qparams[name], **changes)}
        return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)

    return changed


def exchanged(graph: Graph) -> Graph:
    qparams = {**graph.qparams, GRID: graph.qparams[OTHER_GRID], OTHER_GRID: graph.qparams[GRID]}
    return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)


def test_a_sound_artifact_is_proven(made: Made, tmp_path: Path) -> None:
    found = made.proof(tmp_path)
    assert (found.status, found.reason) == (ParityStatus.PASS, "")
    assert {each.status for each in found.comparisons} == {ParityStatus.PASS}
    assert found.stored is not None
    assert found.stored.changed == ()
    if made.graph.qparams:
        assert found.operations is not None
        assert found.operations.compared == found.operations.operations
        assert found.operations.diverging == ()


@pytest.mark.parametrize("change", [another_code, another_scale])
def test_a_wrong_weight_fails_and_is_named(made: Made, tmp_path: Path, change: Callable[[Encoding], Encoding]) -> None:
    found = made.proof(tmp_path, with_encoding(change))
    assert found.status == ParityStatus.FAIL
    assert WEIGHTS in found.reason


def test_a_wrong_grid_fails_and_is_named(made: Made, tmp_path: Path) -> None:
    if not made.graph.qparams:
        pytest.skip("only weights are quantised")
    grid = made.graph.qparams[GRID]
    faults = {
        "its scale": with_grid(GRID, scale=1.1 * grid.scale),
        "another's": exchanged,
        # moved by one it would be the same values but for the ends
        **({"its zero point": with_grid(GRID, zero_point=grid.zero_point + 128)} if grid.least == 0 else {}),
    }
    for what, fault in faults.items():
        (tmp_path / what).mkdir()
        found = made.proof(tmp_path / what, fault)
        assert found.status == ParityStatus.FAIL, what
        assert PLACE in found.reason, what
