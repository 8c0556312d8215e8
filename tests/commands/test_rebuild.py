"""``verify --rebuild``: artifacts are built again from manifests and weights; a difference has its file and offset."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import every_artifact
import pytest
import tiny_timm
from command import run

from evim_deploy import formats
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.artifact.reading import Manifest, embedded_manifest
from evim_deploy.commands.export import export
from evim_deploy.commands.rebuild import FileDifference, Rebuild, RebuildStatus, differences, rebuild
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import NotInstalled, NotRunHere, ParityFailed
from evim_deploy.common.publish import members
from evim_deploy.networks.open import parse_source
from evim_deploy.proof.origin import open_origin
from exporters import FORMATS
from tests.commands.test_verify import annotate, copied

Inputs = dict[str, Path]
SPEC = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, calibration images and an ONNX file."""
    folder = tmp_path_factory.mktemp("inputs") / "folder"
    every_artifact.prepare(folder)
    return folder


def made(folder: Path, source: str, format_: str, **options: Any) -> Path:
    settings = {"verify": False, **options}
    (artifact,) = export(Request(model=parse_source(source), formats=(format_,), output_dir=folder, **settings))
    return Path(artifact["path"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """One artifact of each format with default options."""
    folder = tmp_path_factory.mktemp("plain")
    return {format_: made(folder, "digits", format_) for format_ in FORMATS}


def manifest_of(artifact: Path) -> Manifest:
    return embedded_manifest(formats.read(artifact).metadata, artifact)


def rebuilt(artifact: Path, weights: Path | None = None, manifest: Manifest | None = None) -> Rebuild:
    manifest = manifest or manifest_of(artifact)
    reference = open_origin(manifest, artifact, str(weights) if weights else None, lambda _: None)
    return rebuild(artifact, manifest, reference)


# --- identical bytes


@pytest.mark.parametrize("format_", FORMATS)
def test_an_artifact_is_rebuilt(plain: Inputs, format_: str) -> None:
    result = rebuilt(plain[format_])
    assert (result.status, result.differences, result.versions) == (RebuildStatus.SAME, (), {})
    assert str(result) == "identical bytes"
    assert result.problem(plain[format_]) is None


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("onnx", {"precisions": ("int8",)}),
        ("onnx", {"precisions": ("fp16",), "half_io": True, "opset": 17, "batch": None, "sizes": (None,)}),
        ("tflite", {"precisions": ("int8",), "allowed_loss": 0.0, "batch": 2}),
        ("tflite", {"task": "features", "preprocess": False, "sizes": ((32, 64),)}),
        ("coreml", {"precisions": ("w8a8",), "output": "logits"}),
        ("coreml", {"sizes": every_artifact.SIZES, "multifunction": True}),
    ],
)
def test_all_options_are_in_the_manifest(inputs: Path, tmp_path: Path, format_: str, options: dict[str, Any]) -> None:
    """The user's weights, images and labels may have moved; the artifact may be renamed."""
    weights, labels = inputs / every_artifact.WEIGHTS, tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit {index}" for index in range(10)))
    images = {"calibration": inputs / every_artifact.IMAGES} if "int8" in options.get("precisions", ()) else {}
    named = {} if options.get("task") == "features" else {"labels": labels}
    artifact = made(tmp_path, "digits", format_, weights=str(weights), **options, **images, **named)
    moved = tmp_path / "elsewhere" / f"renamed{artifact.suffix}"
    moved.parent.mkdir()
    artifact.rename(moved)
    labels.unlink()
    assert rebuilt(moved, weights).status == RebuildStatus.SAME


@pytest.mark.parametrize("format_", ["onnx", "coreml"])
def test_other_networks_are_rebuilt(inputs: Path, tmp_path: Path, format_: str) -> None:
    sources = {f"timm:{tiny_timm.NAME}": "random:1", str(inputs / every_artifact.CLASSIFIER): None}
    for source, weights in sources.items():
        artifact = made(tmp_path, source, format_, weights=weights, precisions=("fp16",))
        assert rebuilt(artifact, None if weights else Path(source)).status == RebuildStatus.SAME


def test_weights_are_found_by_their_name_beside_the_artifact(inputs: Path, tmp_path: Path) -> None:
    artifact = made(tmp_path / "one", "digits", "onnx", weights=str(inputs / every_artifact.WEIGHTS))
    assert manifest_of(artifact).weights.source == every_artifact.WEIGHTS
    result = Verifier(rebuilds=True).check(artifact)
    assert result.problem is not None
    assert result.problem.exit_code == 3
    assert every_artifact.WEIGHTS in result.problem.cause
    shutil.copy(inputs / every_artifact.WEIGHTS, artifact.parent)
    result = Verifier(rebuilds=True).check(artifact)
    assert result.problem is None
    assert result.to_dict()["rebuild"]["status"] == RebuildStatus.SAME


# --- what differs


def _flip_last(file: Path) -> int:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return len(content) - 1


@pytest.mark.parametrize("format_", FORMATS)
def test_another_description_is_detected_although_the_proof_passes(plain: Inputs, tmp_path: Path, format_: str) -> None:
    """Without the manifest beside it neither the hash nor a comparison detects it."""
    artifact = copied(plain[format_], tmp_path)
    annotate(artifact, format_, {})
    result = Verifier(rebuilds=True).check(artifact)
    assert result.verification
    assert result.verification.parity.status == ParityStatus.PASS
    assert isinstance(result.problem, ParityFailed)
    assert "is different" in result.problem.cause
    document = result.to_dict()["rebuild"]
    assert document["status"] == RebuildStatus.DIFFERENT
    assert [each["file"] for each in document["differences"]] == [SPEC if format_ == "coreml" else artifact.name]


def test_one_bit_of_the_weights_is_reported_with_its_offset(plain: Inputs, tmp_path: Path) -> None:
    artifact = copied(plain["coreml"], tmp_path)
    place = _flip_last(artifact / WEIGHTS)
    assert rebuilt(artifact).differences == (FileDifference(WEIGHTS, place),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content, None),
        (lambda content: content[:5] + b"!" + content[6:], 5),
        (lambda content: content + b"more", 10),
        (lambda content: content[:4], 4),
        (lambda content: b"", 0),
    ],
)
def test_the_first_offset_that_differs(
    tmp_path: Path, change: Callable[[bytes], bytes], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evim_deploy.commands.rebuild._BLOCK_BYTES", 4)
    one, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    one.write_bytes(b"0123456789")
    other.write_bytes(change(b"0123456789"))
    assert [each.offset for each in differences(one, other)] == ([] if expected is None else [expected])


def test_a_file_that_only_one_has_is_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.onnx").write_bytes(b"alike")
    (tmp_path / "b.onnx.data").write_bytes(b"weights")
    (result,) = differences(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert str(result) == "only one has a.onnx.data"
    assert set(members(tmp_path / "b.onnx")) == {"", ".data"}


# --- what cannot be compared


def _made_by(artifact: Path, changed: Mapping[str, str]) -> Manifest:
    manifest = manifest_of(artifact)
    return replace(manifest, tools={**manifest.tools, **changed})


def test_other_versions_are_named_and_no_failure(plain: Inputs) -> None:
    artifact = plain["onnx"]
    result = rebuilt(artifact, manifest=_made_by(artifact, {"onnx": "1.0", "gone": "2"}))
    assert result.status == RebuildStatus.NOT_COMPARABLE
    now = manifest_of(artifact).tools["onnx"]
    assert result.versions == {"onnx": ("1.0", now), "gone": ("2", None)}
    problem = result.problem(artifact)
    assert isinstance(problem, NotRunHere)
    assert f"onnx 1.0 then, {now} now, gone 2 then, missing now" in problem.cause


def test_other_versions_that_write_the_same_are_no_problem(plain: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest's versions are put into the rebuilt file, so that they alone make no difference."""
    monkeypatch.setattr("evim_deploy.commands.build.tool_versions", lambda *names: {"onnx": "9.9"})
    result = rebuilt(plain["onnx"])
    assert (result.status, result.differences) == (RebuildStatus.SAME, ())
    assert result.versions["onnx"][1] == "9.9"
    assert "although" in str(result)


def test_a_missing_exporter_is_named(plain: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise NotInstalled("tflite needs tensorflow, which is not installed.", "pip install it")

    monkeypatch.setattr("exporters.require", missing)
    result = Verifier(rebuilds=True).check(plain["tflite"])
    assert result.verification
    assert result.verification.parity.status == ParityStatus.PASS
    assert isinstance(result.problem, NotInstalled)


# --- the command


def test_the_command_says_it(plain: Inputs, tmp_path: Path) -> None:
    changed = copied(plain["onnx"], tmp_path)
    annotate(changed, "onnx", {})
    output = run("verify", plain["onnx"], changed, "--rebuild")
    assert output.returncode == 5
    same, different = (line for line in output.stdout.splitlines() if "rebuild: " in line)
    assert same.strip() == "rebuild: identical bytes"
    assert different.strip().startswith(f"rebuild: different ({changed.name} from byte ")
    assert f"The rebuild of {changed} is different" in output.stderr
