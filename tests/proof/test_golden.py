"""Golden files: their content, their artifact, and checks with them that must fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import run
from ios_fixtures import facts, prover
from safetensors import safe_open

import runtimes
from evim_deploy.artifact.parity import Tolerance
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.common.publish import sha256
from evim_deploy.networks.open import parse_source
from evim_deploy.networks.protocols import Outputs
from evim_deploy.proof.golden import METADATA_KEY, write_golden
from evim_deploy.proof.outputs import inputs
from evim_deploy.proof.outputs.comparable import comparable
from evim_deploy.proof.outputs.differences import measure, pair_outputs

SIDE = 64


def request(folder: Path, **changes: Any) -> Request:
    facts_ = {"weights": "random:3", "sizes": ((SIDE, SIDE),), "output_dir": folder, "golden": True} | changes
    return Request(model=parse_model("m1"), formats=facts_.pop("formats", ("coreml",)), **facts_)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A golden file's document and tensors."""
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()[METADATA_KEY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def errors(document: dict[str, Any], target: Target, expected: Outputs, actual: Outputs) -> tuple[float, float]:
    least = document["least_probability"] or 0.0
    result = measure(
        pair_outputs(document["cases"], comparable(expected, target, least), comparable(actual, target, least)), False
    )
    return result.max_abs, result.mean_abs


def outputs(tensors: dict[str, Any], prefix: str) -> Outputs:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    (artifact,) = export(request(tmp_path_factory.mktemp("golden")))
    return artifact


def test_an_artifact_passes_its_golden_file_and_the_control_does_not(exported: dict[str, Any]) -> None:
    path = Path(exported["path"])
    document, tensors = read(Path(exported["golden"]))
    target = Target(
        format="coreml",
        precision="fp16",
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="probabilities",
        preprocess=True,
        labels=(),
    )
    expected, allowed = outputs(tensors, "expected."), document["tolerance"]
    images = tensors["input"].transpose(0, 3, 1, 2).astype(np.float32)  # (N, 3, H, W)
    with runtimes.open_artifact(path, runtimes.first_available(runtimes.engines_for(path))) as session:
        answers = [session.run(image[None])["probabilities"] for image in images]
    largest, mean = errors(document, target, expected, {"probabilities": np.concatenate(answers)})
    assert largest <= allowed["max_abs"]
    assert mean <= allowed["mean_abs"]
    largest, mean = errors(document, target, expected, outputs(tensors, "control."))
    assert largest > allowed["max_abs"] or mean > allowed["mean_abs"]


@pytest.fixture(scope="module")
def in_few_bits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Artifacts of the digits model by precision; it is trained, so the loss of few bits is meaningful."""
    asked = Request(
        model=parse_source("digits"),
        formats=("coreml",),
        precisions=("int8", "w8a8"),
        sizes=((SIDE, SIDE),),
        output_dir=tmp_path_factory.mktemp("bits"),
        golden=True,
    )
    return {made["precision"]: made for made in export(asked)}


@pytest.mark.parametrize("precision", ["int8", "w8a8"])
def test_a_quantised_artifact_passes_its_golden_file_and_the_control_does_not(
    in_few_bits: dict[str, dict[str, Any]], precision: str
) -> None:
    """The tolerance is that of its proof, a multiple of the network's own quantisation error."""
    made = in_few_bits[precision]
    document, tensors = read(Path(made["golden"]))
    target = Target(
        format="coreml",
        precision=precision,
        height=SIDE,
        width=SIDE,
        batch=1,
        task="classify",
        output="probabilities",
        preprocess=True,
        labels=(),
    )
    expected, allowed = outputs(tensors, "expected."), document["tolerance"]
    compared = made["parity"]["comparisons"][-1]
    assert document["precision"] == precision
    assert allowed == {key: compared["tolerance"][key] for key in ("max_abs", "mean_abs", "reason")}
    path, images = Path(made["path"]), tensors["input"].transpose(0, 3, 1, 2).astype(np.float32)  # (N, 3, H, W)
    with runtimes.open_artifact(path, runtimes.first_available(runtimes.engines_for(path))) as session:
        answers = [session.run(image[None])["probabilities"] for image in images]
    largest, mean = errors(document, target, expected, {"probabilities": np.concatenate(answers)})
    assert largest <= allowed["max_abs"]
    assert mean <= allowed["mean_abs"]
    largest, mean = errors(document, target, expected, outputs(tensors, "control."))
    assert largest > allowed["max_abs"] or mean > allowed["mean_abs"]


def test_it_says_what_it_belongs_to(exported: dict[str, Any]) -> None:
    path = Path(exported["path"])
    assert Path(exported["golden"]) == path.with_name(f"{path.name}.golden.safetensors")
    document, tensors = read(Path(exported["golden"]))
    assert (document["schema"], document["schema_version"]) == ("evim-deploy-golden", 1)
    assert document["artifact"] == path.name
    assert document["artifact_sha256"] == sha256(path)
    assert document["weights"] == exported["weights"]
    assert document["weights"]["trained"] is False
    assert document["tolerance"]["max_abs"] == exported["parity"]["comparisons"][-1]["tolerance"]["max_abs"]
    assert "root mean square" in document["control"]
    assert document["cases"] == list(inputs.standard_images(SIDE, SIDE))
    shapes = {name: (str(array.dtype), array.shape) for name, array in tensors.items()}
    count = len(document["cases"])
    assert shapes == {
        "input": ("uint8", (count, SIDE, SIDE, 3)),
        "expected.probabilities": ("float32", (count, 1000)),
        "control.probabilities": ("float32", (count, 1000)),
    }
    pictures = np.stack([*inputs.standard_images(SIDE, SIDE).values()])
    assert np.array_equal(tensors["input"].transpose(0, 3, 1, 2), pictures.round())


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({"formats": ("onnx",)}, {"input", "expected.logits", "control.logits"}),
        (
            {"task": "features", "preprocess": False},
            {"input"} | {f"{which}.stride{stride}" for which in ("expected", "control") for stride in (16, 32, 64)},
        ),
    ],
)
def test_other_outputs(tmp_path: Path, changes: dict[str, Any], tensors: set[str]) -> None:
    (artifact,) = export(request(tmp_path, verify=False, **changes))
    document, result = read(Path(artifact["golden"]))
    assert set(result) == tensors
    assert document["least_probability"] is None
    if not changes.get("preprocess", True):
        assert result["input"].dtype == np.float32
        assert result["input"].shape[1:] == (3, SIDE, SIDE)


def test_the_command_says_where_it_is(tmp_path: Path) -> None:
    completed = run(
        "export", "m1", "-f", "onnx", "-r", str(SIDE), "-w", "random", "--no-verify", "-o", tmp_path, "--golden"
    )
    (golden,) = tmp_path.glob("*.onnx.golden.safetensors")
    assert f"golden {golden}" in completed.stdout


def test_without_the_option_nothing_is_written(tmp_path: Path) -> None:
    (artifact,) = export(request(tmp_path, golden=False, verify=False, formats=("onnx",)))
    assert "golden" not in artifact
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_stands_there_is_not_replaced(tmp_path: Path) -> None:
    ask = request(tmp_path, verify=False, formats=("onnx",))
    (artifact,) = export(ask)
    Path(artifact["path"]).unlink()
    Path(f"{artifact['path']}.json").unlink()
    with pytest.raises(BadInput, match=r"golden\.safetensors exists already"):
        export(ask)


def test_open_sizes_have_no_golden_inputs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fixed resolution"):
        plan_targets(request(tmp_path, formats=("onnx",), sizes=(None,)))


def test_a_check_that_cannot_fail_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an infinite tolerance no negative control exists."""
    anything = {("coreml", "fp16"): Tolerance(max_abs=float("inf"), mean_abs=float("inf"), reason="", distribution="")}
    monkeypatch.setattr("evim_deploy.proof.outputs.checker.TOLERANCES", anything)
    with pytest.raises(ParityFailed, match="would prove nothing"):
        write_golden(facts(), prover(), artifact="a.mlpackage", digest="00", path=tmp_path / "golden")
    assert not list(tmp_path.iterdir())


def test_the_control_is_of_a_perturbed_network(tmp_path: Path) -> None:
    """A golden file of other weights has the same inputs and other outputs."""
    write_golden(facts(), prover(), artifact="a.mlpackage", digest="00", path=tmp_path / "one")
    other = prover()
    with torch.no_grad():
        next(other.reference.model.parameters()).mul_(1.5)
    write_golden(replace(facts()), other, artifact="a.mlpackage", digest="00", path=tmp_path / "two")
    (_, one), (_, two) = read(tmp_path / "one"), read(tmp_path / "two")
    assert np.array_equal(one["input"], two["input"])
    assert not np.allclose(one["expected.probabilities"], two["expected.probabilities"], atol=1e-4)
