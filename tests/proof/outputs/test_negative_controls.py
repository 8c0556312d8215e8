"""Negative controls on the artifact's own file, in every format and precision: one changed weight fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from networks import tiny
from simulated import reference_of, target_of
from stored_weights import StoredLocation, change_one, double_the_least, places

import exporters
from evim_deploy.artifact.parity import Parity, StoredWeights
from evim_deploy.artifact.target import Target
from evim_deploy.common.progress import Silent
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove

COMBINATIONS = [(format_, precision) for format_ in ("onnx", "tflite", "coreml") for precision in ("fp32", "fp16")]
CLASSES = 5  # so few that Core ML keeps the heads' bias in its spec
SIZE = (96, 128)  # the last stage's map is 2 x 2: of a 1 x 1 one the outer weights of a kernel have no effect
SAMPLE = 12  # arrays of each artifact
IN_THE_SPEC = [
    ("preprocess.mean", "bias"),
    ("patch_embed.conv.1.conv", "bias"),
    ("stages.1.blocks.0.mixer.BCdt_proj", "bias"),
    ("heads.3.sum", "bias"),
]


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(tiny(3, depths=(1, 1, 1)), classes=CLASSES)


@pytest.fixture(scope="module")
def checker(reference: GraphReference) -> ParityChecker:
    return ParityChecker(reference, 64)


@pytest.fixture(scope="module")
def artifacts(reference: GraphReference, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("sound")
    paths = {}
    for format_, precision in COMBINATIONS:
        row, target = exporters.FORMATS[format_], target_for(format_, precision)
        path = paths[format_, precision] = folder / f"{precision}{row.suffix}"
        exporters.load(row).build(reference.stored_form(target), target, path)
    return paths


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def sound(request: pytest.FixtureRequest, artifacts: dict[tuple[str, str], Path]) -> tuple[Target, Path]:
    """Each artifact with its target."""
    return target_for(*request.param), artifacts[request.param]


def target_for(format_: str, precision: str) -> Target:
    return target_of(format_, precision, size=SIZE, classes=CLASSES)


def with_one_changed(
    artifact: Path, place: StoredLocation, folder: Path, change: Callable[[Path, StoredLocation], None] = change_one
) -> Path:
    """A copy of an artifact with one changed weight."""
    copy = folder / artifact.name
    if artifact.is_dir():
        shutil.copytree(artifact, copy, dirs_exist_ok=True)
    else:
        shutil.copy(artifact, copy)
    change(copy, place)
    return copy


def assert_fails_in_its_program(result: Parity) -> None:
    assert result.status == "fail"
    assert next(each.check for each in result.comparisons if each.status == "fail") == "program"


def test_one_changed_weight_fails(
    reference: GraphReference, checker: ParityChecker, sound: tuple[Target, Path], tmp_path: Path
) -> None:
    target, artifact = sound
    unchanged = prove(artifact, target, checker, Silent())
    assert (unchanged.status, unchanged.reason) == ("pass", "")

    stored = reference.stored_form(target)
    actual = places(artifact, stored, target.precision)
    arrays = sum(len(node.weights) for node in stored.nodes)
    assert len(actual) >= arrays - 3  # all but single numbers, which stand in several places
    assert unchanged.stored == StoredWeights(arrays, arrays, ())
    for (layer, name), place in list(actual.items())[:: len(actual) // SAMPLE]:
        changed = with_one_changed(artifact, place, tmp_path)
        result = prove(changed, target, checker, Silent())
        assert_fails_in_its_program(result)
        assert result.stored is not None
        (change,) = result.stored.changed
        assert change.startswith(f"{layer}, 1 of {place.size} values of the {name} differs, by ")


def test_a_weight_that_no_output_shows_fails_too(
    reference: GraphReference, checker: ParityChecker, sound: tuple[Target, Path], tmp_path: Path
) -> None:
    """A weight behind a unit that no standard input activates, although other inputs may."""
    target, artifact = sound
    place = places(artifact, reference.stored_form(target), target.precision)[
        "stages.1.blocks.0.ffn.fc2.conv", "kernel"
    ]
    result = prove(with_one_changed(artifact, place, tmp_path, double_the_least), target, checker, Silent())
    assert {each.status for each in result.comparisons} == {"pass"}
    assert result.status == "fail"
    assert result.reason.startswith(
        "it stores other weights than the model's: stages.1.blocks.0.ffn.fc2.conv, 1 of 2304 values of the kernel"
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_one_changed_weight_in_a_packages_spec_fails(
    reference: GraphReference,
    checker: ParityChecker,
    artifacts: dict[tuple[str, str], Path],
    tmp_path: Path,
    precision: str,
) -> None:
    """Small arrays are in the program, not in the weights file."""
    target, artifact = target_for("coreml", precision), artifacts["coreml", precision]
    result = places(artifact, reference.stored_form(target), precision)
    for name in IN_THE_SPEC:
        assert result[name].member.endswith("model.mlmodel")
        changed = with_one_changed(artifact, result[name], tmp_path)
        assert_fails_in_its_program(prove(changed, target, checker, Silent()))


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_an_artifact_of_other_weights_fails(
    checker: ParityChecker, tmp_path: Path, format_: str, precision: str
) -> None:
    """An artifact exported before the last training."""
    row, target = exporters.FORMATS[format_], target_for(format_, precision)
    other = reference_of(tiny(3, depths=(1, 1, 1)), seed=1, classes=CLASSES)
    path = tmp_path / f"stale{row.suffix}"
    exporters.load(row).build(other.stored_form(target), target, path)
    result = prove(path, target, checker, Silent())
    assert_fails_in_its_program(result)
    assert result.comparisons[-1].status == "fail"
