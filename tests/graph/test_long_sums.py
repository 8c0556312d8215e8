"""Sums over very many tokens: engines add sequentially, so exporters split a long sum into shorter ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import pixels
from simulated import target_of

import exporters
import runtimes
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph

SIDE = 256  # 65536 tokens, as in the first stage at 4096x4096
TOLERANCE = 3e-5

ALL = ("weights", "states", "total", "mean", "map", "products")
EXACT = {"onnx": ("weights", "total", "mean"), "tflite": ALL}
"""The outputs that a format sums in steps. ONNX Runtime's matrix products over all tokens are not split: with them the
outputs of M4 for a white 4096x4096 image have an error of 1e-5 of their range."""


@pytest.fixture(scope="module")
def graph() -> Graph:
    """All operations that sum over an image, and their consumers."""
    graph = Graph("image")
    tokens = graph.add("flatten", ["image"], "tokens")
    weights = graph.add("softmax_tokens", [tokens], "weights")
    states = graph.add("state_update", [tokens, weights], "states")
    read = graph.add("state_readout", [states, tokens], "state_readout")
    total = graph.add("sum_tokens", [tokens], "total")
    mean = graph.add("mean", ["image"], "mean", keep=True)
    map_ = graph.add("unflatten", [read, "image"], "map")
    graph.outputs = {"states": states, "total": total, "mean": mean, "map": map_, "products": "products"}
    graph.outputs["weights"] = weights
    graph.add("state_update", [tokens, tokens], "products")
    return graph


def gaps(graph: Graph, path: Path, seed: int, flat: bool) -> dict[str, float]:
    """The error of each output of the file, relative to its largest value; in a flat image all tokens are equal."""
    side = 1 if flat else SIDE
    image = (pixels(seed, side, side) / 255).expand(1, 3, SIDE, SIDE)
    expected = evaluate(graph, image)
    with runtimes.open_artifact(path) as session:
        outputs = session.run(image.float().numpy())
    return {
        name: float(np.abs(outputs[name].reshape(values.shape) - values.numpy()).max() / values.abs().max())
        for name, values in expected.items()
    }


def build(graph: Graph, format_: str, folder: Path) -> Path:
    row = exporters.FORMATS[format_]
    path = folder / f"sums{row.suffix}"
    exporters.load(row).build(graph, target_of(format_, output="features", size=(SIDE,) * 2), path)
    return path


@pytest.mark.parametrize("format_", ["onnx", "tflite"])
@pytest.mark.parametrize("flat", [True, False], ids=["flat", "noise"])
def test_sums_of_many_tokens_are_exact(graph: Graph, tmp_path: Path, format_: str, flat: bool) -> None:
    path = build(graph, format_, tmp_path)
    errors = gaps(graph, path, 3, flat)
    assert errors.keys() == set(ALL)
    assert max(errors[name] for name in EXACT[format_]) < TOLERANCE
    if format_ == "tflite":
        assert runtimes.read_delegation(path).partitions == 1


@pytest.mark.parametrize(
    ("format_", "inexact"), [("onnx", ["total", "mean"]), ("tflite", ["states", "total", "mean", "products"])]
)
def test_in_one_go_they_are_not(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, inexact: list[str]
) -> None:
    """If an engine sums differently one day, the parts have no purpose any more."""
    module = {"onnx": "exporters.onnx.emitter", "tflite": "exporters.tflite.graph"}[format_]
    monkeypatch.setattr(f"{module}.MOST_TERMS", SIDE**2)
    errors = gaps(graph, build(graph, format_, tmp_path), 3, flat=True)
    assert min(errors[name] for name in inexact) > TOLERANCE, errors
