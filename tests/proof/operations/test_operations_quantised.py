"""Error attribution of quantised artifacts: the costliest layer, and its presentation."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import tiny
from simulated import reference_of, target_of

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Precision
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.operations.compare import compare_operations
from evim_deploy.proof.operations.error_attribution import output_costs, signal_to_noise
from evim_deploy.proof.operations.plot import plot_layers
from evim_deploy.proof.operations.report import OpsReport
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.qparams import QuantRange, choose_qparams
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import WEIGHTED, Scheme
from evim_deploy.quantise.weight_quantisation import WeightQuantisation
from tests.proof.operations.test_operations import doubled_in_one_place, image_of, shown, simulated_trace
from tests.proof.operations.test_plot import drawn, lines, texts  # noqa: F401, a fixture

SIDE, CLASSES = 64, 5
INTEGERS = Scheme(
    weights=WeightQuantisation(bits=8),
    float_precision=Precision.FP32,
    description="all in 8 bits",
    integer_ops=WEIGHTED | {"shift", "relu", "add"},
)
COARSE = WeightQuantisation(bits=2)
BLAMED = [
    "patch_embed.conv.2.conv",
    "stages.0.downsample.dwconv2.conv",
    "stages.1.downsample.conv.0.conv",
    "stages.2.blocks.0.mixer.hz_proj",
]
"""Layers that are quantised far too coarsely, one in turn."""


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(tiny(3, depths=(1, 1, 1), channels=(16, 24, 32)), classes=CLASSES)


@pytest.fixture(scope="module")
def target() -> Target:
    return target_of("onnx", "int8", size=(SIDE, SIDE), classes=CLASSES)


@pytest.fixture(scope="module")
def graph(reference: GraphReference, target: Target) -> Graph:
    return reference.rewritten(target)[0]


@pytest.fixture(scope="module")
def image(target: Target) -> Any:
    return image_of(target)


@pytest.fixture(scope="module")
def eight_bits(graph: Graph, image: Any) -> Graph:
    return quantise_graph(graph, INTEGERS, calibrate(graph, INTEGERS, [image], pixels=True))


def match_operations(
    reference: GraphReference, target: Target, exported: Graph, image: Any, **changed: Any
) -> OpsReport:
    """A file that computes what a quantised graph does."""
    graph = reference.rewritten(target)[0]
    return compare_operations(
        reference.model,
        graph=graph,
        exported=exported,
        target=target,
        trace=simulated_trace(exported, image, **changed),
        image=image,
    )


def coarser(exported: Graph, graph: Graph, name: str) -> Graph:
    """One layer's kernel in two bits."""
    (node,), (exact,) = ([node for node in each.nodes if node.name == name] for each in (exported, graph))
    encoding = COARSE.encode(exact.weights["kernel"])
    assert encoding is not None
    changed = exported.copy()
    changed.substitute(node, node.encoded(kernel=encoding))
    return changed


def test_what_is_quantised_as_it_should_be_diverges_nowhere(
    reference: GraphReference, target: Target, eight_bits: Graph, image: Any
) -> None:
    result = match_operations(reference, target, eight_bits, image)
    assert result.status == "pass"
    assert result.costliest is not None
    assert result.costliest.cost_db is not None
    assert 15 < result.ops[-1].snr_db < 30
    assert 15 < result.costliest.cost_db < 30


@pytest.mark.parametrize("name", BLAMED)
def test_the_layer_that_was_quantised_too_coarsely_costs_most(
    reference: GraphReference, target: Target, graph: Graph, eight_bits: Graph, image: Any, name: str
) -> None:
    """It computes its graph, so it does not diverge; its noise is the loss of the outputs."""
    result = match_operations(reference, target, coarser(eight_bits, graph, name), image)
    assert result.first is None
    assert result.costliest is not None
    assert result.costliest.name == name
    others = [layer.cost_db for layer in result.ops if layer is not result.costliest and layer.cost_db is not None]
    assert result.costliest.cost_db is not None
    assert min(others) > result.costliest.cost_db + 3
    assert f"Most of the loss comes from {name}, {result.costliest.place}: its own noise alone leaves " in str(result)
    assert result.to_dict()["blamed"] == name


def test_coarse_quantisation_costs_most_too(
    reference: GraphReference, target: Target, eight_bits: Graph, image: Any
) -> None:
    name = "stages.1.downsample.dwconv2.conv"
    changed = eight_bits.copy()
    changed.qparams[name] = choose_qparams(*eight_bits.qparams[name].range, QuantRange(0, 7))
    result = match_operations(reference, target, changed, image)
    assert result.costliest is not None
    assert (result.first, result.costliest.name) == (None, name)


def test_wrong_quantisation_parameters_diverge(
    reference: GraphReference, target: Target, eight_bits: Graph, image: Any
) -> None:
    """Wrong quantisation parameters in the file: a scale larger by a tenth, or a shifted zero point."""
    name = "stages.0.blocks.0.ffn.fc2.conv"
    grid = eight_bits.qparams[name]
    for wrong in (replace(grid, scale=grid.scale * 1.1), shifted(grid)):
        changed = eight_bits.copy()
        changed.qparams[name] = wrong
        graph = reference.rewritten(target)[0]
        result = compare_operations(
            reference.model,
            graph=graph,
            exported=eight_bits,
            target=target,
            trace=simulated_trace(changed, image),
            image=image,
        )
        assert result.first is not None
        assert result.first.name == name


def shifted(grid: QuantParams) -> QuantParams:
    """The quantised range shifted at its lower end, so that values there exceed it by a step."""
    return replace(grid, zero_point=grid.zero_point + 5, qmin=grid.qmin + 9, qmax=grid.qmax + 9)


def test_weights_alone_in_few_bits_have_their_decibels_too(
    reference: GraphReference, target: Target, graph: Graph, image: Any
) -> None:
    exported = quantise_graph(
        graph,
        Scheme(weights=WeightQuantisation(bits=4), float_precision=Precision.FP32, description="weights alone"),
        {},
    )
    result = match_operations(reference, target, exported, image)
    assert result.status == "pass"
    assert result.costliest is not None
    own = [layer.own_snr_db for layer in result.ops if layer.op in WEIGHTED and not layer.name.endswith(".bias")]
    assert max(own) < 60  # of one input channel, as those biases are, four bits and a scale lose nothing
    assert all(layer.own_snr_db > 100 for layer in result.ops if layer.op not in WEIGHTED)


def test_floats_have_none(reference: GraphReference, target: Target, graph: Graph, image: Any) -> None:
    result = match_operations(reference, target, graph, image)
    assert result.costliest is None
    assert {layer.cost_db for layer in result.ops} == {None}
    assert "dB" not in shown(result)


def test_the_cost_of_a_layer_is_that_of_its_noise_alone(graph: Graph, image: Any) -> None:
    """Computed by hand: an offset on a layer's output, and all later operations in floating point."""
    name = "stages.1.blocks.0.ffn.fc2.conv"
    (node,) = [node for node in graph.nodes if node.name == name]
    offset = 0.1 * np.random.default_rng(0).normal(size=len(node.weights["kernel"]))
    changed = graph.copy()
    changed.substitute(node, node.with_weights(bias=node.weights["bias"] + offset))
    pixels = torch.from_numpy(image)
    (expected,), (noisy,) = (evaluate(each, pixels).values() for each in (graph, changed))
    noise = torch.from_numpy(offset).view(1, -1, 1, 1)  # broadcast over the map
    result = output_costs(graph, pixels, {name: {name: noise}})
    assert result[name] == pytest.approx(signal_to_noise(expected, noisy - expected), abs=0.05)


def test_signal_to_noise_by_hand() -> None:
    signal = torch.tensor([3.0, 4.0])
    assert signal_to_noise(signal, torch.tensor([0.5, 0.0])) == pytest.approx(20)
    assert signal_to_noise(signal, torch.zeros(2)) == inf
    assert signal_to_noise(signal, torch.tensor([inf, 0.0])) == -inf


# --- how it is shown -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(reference: GraphReference, target: Target, graph: Graph, eight_bits: Graph, image: Any) -> OpsReport:
    return match_operations(reference, target, coarser(eight_bits, graph, BLAMED[0]), image)


def test_the_costliest_layers_are_shown_with_their_decibels(coarse: OpsReport) -> None:
    text = shown(coarse)
    assert coarse.costliest is not None
    assert all(title in text for title in ("SNR", "by itself", "outputs by it alone"))
    rows = [line.split() for line in text.splitlines() if line.rstrip().endswith("dB")]
    assert rows[0][0] == coarse.costliest.name
    assert len(rows) == 5
    assert [float(row[-2]) for row in rows] == sorted(float(row[-2]) for row in rows)


def test_a_divergence_is_shown_before_any_loss(
    reference: GraphReference, target: Target, eight_bits: Graph, image: Any
) -> None:
    name = "stages.0.blocks.0.residual1.rescaled"
    changed = eight_bits.copy()
    changed.qparams.pop(name, None)
    result = match_operations(reference, target, changed, image, change={name: doubled_in_one_place})
    assert result.first is not None
    assert result.first.name == name
    assert f"First divergence: {name}" in shown(result)


def test_the_picture_has_a_panel_of_decibels_that_names_the_costliest_layer(
    tmp_path: Path,
    coarse: OpsReport,
    drawn: list[Any],  # noqa: F811
) -> None:
    plot_layers(coarse, "m1.onnx", True, tmp_path / "plot.png")
    (figure,) = drawn
    above, below = figure.axes
    heights = {line.get_label(): np.asarray(line.get_ydata()) for line in below.lines}
    values = [layer.cost_db for layer in coarse.ops]
    shown_costs = heights["outputs with this layer alone noisy"]
    assert np.nanmin(shown_costs) == min(value for value in values if value is not None)
    assert len(heights["signal to noise"]) == len(coarse.ops)
    assert coarse.costliest is not None
    assert f"{coarse.costliest.name} costs most" in " ".join(each.get_text() for each in below.texts).replace("\n", " ")
    assert above.get_yscale() == "log"
