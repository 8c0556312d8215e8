"""Large images in Core ML: every axis stays within the Neural Engine's limit, and the outputs are the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import pixels, random_tiny, relative_gap
from simulated import reference_to, target_of

import exporters
import runtimes
from evim_deploy import formats
from evim_deploy.artifact.target import Target
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.inspection import Suitability, inspect, neural_engine
from evim_deploy.networks.protocols import Reference
from evim_deploy.proof.operations.compare import compare_operations

SIZE = (128, 160)  # 8x10, 4x5 and 2x3 tokens


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_to(random_tiny(0, depths=(1, 1, 1)))


def build(reference: Reference, target: Target, folder: Path) -> Path:
    path = folder / "tokens.mlpackage"
    exporters.load(exporters.FORMATS["coreml"]).build(reference.stored_form(target), target, path)
    return path


def limited(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    """Lower the limits of an axis and of the tokens whose weights fit the range of float16 to ``longest``."""
    monkeypatch.setattr("exporters.coreml.tokens.LONGEST_AXIS", longest)
    monkeypatch.setattr("evim_deploy.graph.ir.MANY_TOKENS", longest)


def test_exporter_and_inspection_rules_have_the_same_axis_limit() -> None:
    from exporters.coreml import tokens as coreml_tokens

    assert coreml_tokens.LONGEST_AXIS == neural_engine.LONGEST_AXIS


@pytest.mark.parametrize("longest", [79, 30, 10])
def test_splitting_by_rows_preserves_outputs(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    """The limits give parts of all rows but the last, of three rows and of one row."""
    image = pixels(0, *SIZE)
    expected = evaluate(reference.rewritten(target_of("onnx", size=SIZE))[0], image)
    limited(monkeypatch, longest)
    path = build(reference, target_of("coreml", size=SIZE), tmp_path)
    with runtimes.open_artifact(path, mode="fp32") as session:
        found = {name: torch.from_numpy(array).double() for name, array in session.run(image.float().numpy()).items()}
    assert relative_gap(found, expected) < 1e-6
    shapes = [value.shape for each in formats.read(path).functions[0].operations for value in each.values]
    assert max(axis for shape in shapes if len(shape or ()) == 3 for axis in shape) <= max(longest, 32)


def test_split_operations_match_the_model(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 30)
    target = target_of("coreml", "fp16", size=SIZE)
    path = build(reference, target, tmp_path)
    image = pixels(1, *SIZE).float().numpy()
    graph, _ = reference.rewritten(target)
    exported = reference.stored_form(target)
    report = compare_operations(
        reference.model,
        graph=graph,
        exported=exported,
        target=target,
        trace=runtimes.trace(path, image),
        image=image,
    )
    assert report.status == "pass", report


def test_small_image_has_the_operations_of_a_plain_graph(reference: Reference, tmp_path: Path) -> None:
    target = target_of("coreml", "fp16", size=SIZE)
    spread = build(reference, target, tmp_path)
    plain = tmp_path / "plain.mlpackage"
    graph, _ = reference.rewritten(target_of("onnx", size=SIZE))
    exporters.load(exporters.FORMATS["coreml"]).build(graph, target, plain)
    types: list[Any] = [[each.type for each in formats.read(path).functions[0].operations] for path in (spread, plain)]
    assert types[0] == types[1]
    assert Counter(types[0])["softmax"] == 3


def suitability(path: Path) -> Suitability:
    (function,) = inspect(path).functions
    target, _ = function.targets
    return target


@pytest.mark.parametrize(("side", "parts"), [(2048, 1), (4096, 4)])
def test_large_images_run_on_the_neural_engine(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, parts: int
) -> None:
    """Without the split into rows, the larger image has values that are too long."""
    target = target_of("coreml", "fp16", size=(side, side))
    path = build(reference, target, tmp_path)
    assert suitability(path).kept_off == 0
    products = Counter(each.type for each in formats.read(path).functions[0].operations)["matmul"]
    assert products == 2 * (parts + 1 + 1)  # stages 2 and 3 have a quarter and a sixteenth of the tokens
    if parts > 1:
        monkeypatch.setattr("exporters.coreml.tokens.LONGEST_AXIS", np.inf)
        (tmp_path / "long").mkdir()
        found = suitability(build(reference, target, tmp_path / "long"))
        assert found.kept_off > 0
        assert {finding.rule for finding in found.findings} >= {"axis_length"}
