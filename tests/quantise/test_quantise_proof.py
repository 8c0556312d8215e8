"""Quantised artifacts pass their proof; a wrong weight, scale or zero point in any format fails and is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from networks import random_tiny
from simulated import target_of

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
VALUE, OTHER_VALUE = "stages.1.blocks.0.ffn.relu", "stages.0.blocks.0.ffn.relu"

Fault = Callable[[Graph], Graph]


@dataclass(frozen=True)
class Made:
    """A quantised target, its quantised graph, and the checker of its artifacts."""

    target: Target
    graph: Graph
    checker: ParityChecker

    def proof(self, folder: Path, fault: Fault = lambda graph: graph) -> Parity:
        """The proof of an artifact whose exporter has a fault."""
        row = exporters.FORMATS[self.target.format]
        path = folder / f"artifact{row.suffix}"
        exporters.load(row).build(fault(self.graph), self.target, path)
        return prove(path, self.target, self.checker, Silent())


@pytest.fixture(scope="module")
def checker() -> ParityChecker:
    """The checker of a network in which all weights of an operation differ in size, by which a file is searched."""
    network = random_tiny(0, channels=(32, 24, 40), states=(7, 6, 4)).float()
    return ParityChecker(GraphReference(model=network, weights=Weights("random:0", False, "")), SIDE)


@pytest.fixture(scope="module", params=SCHEMES, ids=":".join)
def made(request: pytest.FixtureRequest, checker: ParityChecker) -> Made:
    format_, precision = request.param
    scheme, reference = SCHEMES[format_, precision], checker.reference
    assert isinstance(reference, GraphReference)
    target = target_of(format_, precision, size=(SIDE, SIDE))
    target = replace(target, deployment_target=scheme.deployment_target, quantisation=Quantisation())
    if scheme.is_calibrated:
        images = CalibrationImages(
            source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=reference.preprocessing, preprocess=True
        )
        qparams = calibrate(reference.inference(target), scheme, images, pixels=True)
        target = replace(target, quantisation=Quantisation(qparams=tuple(qparams.items())))
    return Made(target, reference.stored_form(target), checker)


def with_encoding(change: Callable[[Encoding], Encoding]) -> Fault:
    """A graph in which one kernel is encoded differently."""

    def changed(graph: Graph) -> Graph:
        graph = graph.copy()
        (node,) = (node for node in graph.nodes if node.name == WEIGHTS)
        graph.substitute(node, node.encoded(kernel=change(node.encodings["kernel"])))
        return graph

    return changed


def another_value(encoding: Encoding) -> Encoding:
    """The largest weight, a step nearer to 0."""
    values = encoding.values.copy()
    at = np.unravel_index(np.abs(encoding.dequantise()).argmax(), values.shape)
    values[at] += -1 if encoding.dequantise()[at] > 0 else 1
    return replace(encoding, values=values)


def another_scale(encoding: Encoding) -> Encoding:
    """One channel, or one entry of the table, scaled by 1.1."""
    if isinstance(encoding, Palettised):
        table = encoding.table.copy()
        table[np.bincount(encoding.values.ravel()).argmax()] *= 1.1
        return replace(encoding, table=table)
    scale = encoding.scale.copy()
    scale[0] *= 1.1
    return replace(encoding, scale=scale.astype(np.float16).astype(np.float64))


def with_qparams(name: str, **changes: float) -> Fault:
    """A graph in which one value is quantised differently."""

    def changed(graph: Graph) -> Graph:
        qparams = {**graph.qparams, name: replace(graph.qparams[name], **changes)}
        return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)

    return changed


def exchanged(graph: Graph) -> Graph:
    qparams = {**graph.qparams, VALUE: graph.qparams[OTHER_VALUE], OTHER_VALUE: graph.qparams[VALUE]}
    return Graph(graph.input_name, graph.nodes, graph.outputs, qparams)


def test_a_sound_artifact_is_proven(made: Made, tmp_path: Path) -> None:
    parity = made.proof(tmp_path)
    assert (parity.status, parity.reason) == (ParityStatus.PASS, "")
    assert {each.status for each in parity.comparisons} == {ParityStatus.PASS}
    assert parity.stored is not None
    assert parity.stored.changed == ()
    if made.graph.qparams:
        assert parity.operations is not None
        assert parity.operations.compared == parity.operations.operations
        assert parity.operations.diverging == ()


@pytest.mark.parametrize("change", [another_value, another_scale])
def test_a_wrong_weight_fails_and_names_the_operation(
    made: Made, tmp_path: Path, change: Callable[[Encoding], Encoding]
) -> None:
    parity = made.proof(tmp_path, with_encoding(change))
    assert parity.status == ParityStatus.FAIL
    assert WEIGHTS in parity.reason


def test_wrong_quantisation_parameters_fail_and_name_the_operation(made: Made, tmp_path: Path) -> None:
    if not made.graph.qparams:
        pytest.skip("only weights are quantised")
    qparams = made.graph.qparams[VALUE]
    faults = {
        "scale": with_qparams(VALUE, scale=1.1 * qparams.scale),
        "of another value": exchanged,
        # a shift by 1 would change nothing but the ends of the range
        **({"zero point": with_qparams(VALUE, zero_point=qparams.zero_point + 128)} if qparams.qmin == 0 else {}),
    }
    for name, fault in faults.items():
        (tmp_path / name).mkdir()
        parity = made.proof(tmp_path / name, fault)
        assert parity.status == ParityStatus.FAIL, name
        assert PLACE in parity.reason, name
