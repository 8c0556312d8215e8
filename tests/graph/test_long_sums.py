"""Sums over very many tokens: engines add one after the other, and so a long sum is made of shorter ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import pixels
from told import target_of

import exporters
import runtimes
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph

SIDE = 256  # 65536 tokens, as in the first stage at 4096x4096
TOLERANCE = 3e-5

ALL = ("weights", "states", "total", "mean", "map", "products")
EXACT = {"onnx": ("weights", "total", "mean"), "tflite": ALL}
"""What a format makes in steps. ONNX Runtime's matrix products over all tokens are left to it: of a white image of
4096x4096 the answers of M4 are off by 1e-5 of their range with them."""


@pytest.fixture(scope="module")
def graph() -> Graph:
    """All that sums over an image, and what takes the sums."""
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
    """Of each output of the file, relative to its largest value; of a flat picture all tokens are alike."""
    side = 1 if flat else SIDE
    image = (pixels(seed, side, side) / 255).expand(1, 3, SIDE, SIDE)
    expected = evaluate(graph, image)
    with runtimes.open_artifact(path) as session:
        found = session.run(image.float().numpy())
    return {
        name: float(np.abs(found[name].reshape(values.shape) - values.numpy()).max() / values.abs().max())
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
    found = gaps(graph, path, 3, flat)
    assert found.keys() == set(ALL)
    assert max(found[name] for name in EXACT[format_]) < TOLERANCE
    if format_ == "tflite":
        assert runtimes.read_delegation(path).partitions == 1


@pytest.mark.parametrize(
    ("format_", "inexact"), [("onnx", ["total", "mean"]), ("tflite", ["states", "total", "mean", "products"])]
)
def test_in_one_go_they_are_not(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, inexact: list[str]
) -> None:
    """Were an engine to sum otherwise one day, the parts would have no purpose any more."""
    module = {"onnx": "exporters.onnx.emitter", "tflite": "exporters.tflite.graph"}[format_]
    monkeypatch.setattr(f"{module}.MOST_TERMS", SIDE**2)
    found = gaps(graph, build(graph, format_, tmp_path), 3, flat=True)
    assert min(found[name] for name in inexact) > TOLERANCE, found
