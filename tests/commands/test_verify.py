"""Artifacts are verified from their files alone, at another place and time; a fault is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import FILE, REPO, Server, point_at
from networks import tiny
from PIL import Image
from safetensors.torch import save
from simulated import FACTS
from stored_weights import change_one, places

import exporters
from evim_deploy import formats
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.parity import OutputComparison, Parity
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import MODELS, VARIANTS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verification, Verifier, VerifyResult
from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import sha256
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.proof.outputs.inputs import standard_images
from evim_deploy.proof.outputs.tolerances import TOLERANCES

SMALL = ModelName(tiny(3, depths=(1, 1, 1)))
CLASSES = 12
SIZE = (40, 48)
COMBINATIONS = [(format_, precision) for format_ in ("onnx", "tflite", "coreml") for precision in ("fp32", "fp16")]
SPEC = "Data/com.apple.CoreML/model.mlmodel"

Artifacts = dict[tuple[str, str], Path]


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """Register a network that takes milliseconds."""
    MODELS[SMALL.name], VARIANTS[SMALL.variant.name] = SMALL, SMALL.variant
    yield
    del MODELS[SMALL.name], VARIANTS[SMALL.variant.name]


def made(
    folder: Path, weights: str, formats: tuple[str, ...] = ("onnx",), precisions: tuple[str, ...] = ()
) -> Artifacts:
    """The exported artifacts of the small model."""
    documents = export(
        Request(
            model=SMALL,
            formats=formats,
            precisions=precisions,
            sizes=(SIZE,),
            weights=weights,
            num_classes=CLASSES,
            output_dir=folder,
        )
    )
    return {(document["format"], document["precision"]): Path(document["path"]) for document in documents}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return made(tmp_path_factory.mktemp("exported"), "random:3", tuple(exporters.FORMATS), UNQUANTISED)


def copied(artifact: Path, folder: Path, manifest: bool = False) -> Path:
    """A copy of an artifact in another folder, with or without its manifest."""
    folder.mkdir(exist_ok=True)
    copy = folder / artifact.name
    if artifact.is_dir():
        shutil.copytree(artifact, copy)
    else:
        shutil.copy(artifact, copy)
    if manifest:
        shutil.copy(beside(artifact), folder)
    return copy


def beside(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".json")


def annotate(artifact: Path, format_: str, changes: Mapping[str, str]) -> None:
    """Write other metadata into a file, and another description."""
    own = {key: text for key, text in formats.read(artifact).metadata.items() if key in (METADATA_KEY, LABELS_KEY)}
    exporters.load(exporters.FORMATS[format_]).annotate(artifact, {**own, **changes}, FACTS)


def compared(verification: Verification) -> list[tuple[str, str, str]]:
    return [(each.check, each.engine, each.mode) for each in verification.parity.comparisons]


@dataclass
class Log:
    """Records the steps of the work."""

    steps: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def detail(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


# --- from the file alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_an_artifact_is_proven_from_its_file_alone(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, precision: str
) -> None:
    """A copy at a relative path without its manifest has the same result as the export."""
    artifact = artifacts[format_, precision]
    copied(artifact, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    verification = Verifier().verify(Path(artifact.name))
    assert (verification.parity.status, verification.parity.reason) == ("pass", "")
    assert verification.problem() is None
    assert verification.manifest.model is SMALL
    target = verification.manifest.target
    assert (target.format, target.precision, target.height, target.width) == (format_, precision, *SIZE)
    assert (verification.manifest.weights.source, verification.manifest.num_classes) == ("random:3", CLASSES)

    then = json.loads(beside(artifact).read_text())["parity"]
    assert (then["status"], then["power"]["summary"]) == ("pass", str(verification.parity.sensitivity))
    for now, before in zip(verification.parity.comparisons, then["comparisons"], strict=True):
        assert (now.check, now.engine, now.mode) == (before["subject"], before["engine"], before["mode"])
        assert now.measures.max_abs == pytest.approx(before["measures"]["max_abs"], rel=0.01)


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_nothing_is_changed_or_left_by_a_proof(
    artifacts: Artifacts, tmp_path: Path, format_: str, precision: str
) -> None:
    artifact = copied(artifacts[format_, precision], tmp_path, manifest=True)
    before = (sha256(artifact), sorted(tmp_path.rglob("*")))
    assert Verifier().verify(artifact).parity.status == "pass"
    assert (sha256(artifact), sorted(tmp_path.rglob("*"))) == before


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_a_changed_weight_fails_with_the_reason(
    artifacts: Artifacts, tmp_path: Path, format_: str, precision: str
) -> None:
    """The copy has no manifest beside it, whose hash would detect any change."""
    artifact = copied(artifacts[format_, precision], tmp_path)
    verifier = Verifier()
    verification = verifier.verify(artifact)
    reference = verifier.checker(verification.manifest, artifact).reference
    actual = places(artifact, reference.stored_form(verification.manifest.target), precision)
    change_one(artifact, actual["stages.1.blocks.0.ffn.fc2.conv", "kernel"])
    result = verifier.check(artifact)
    assert result.verification is not None
    assert result.verification.parity.status == "fail"
    assert result.verification.parity.reason.startswith("program (")
    assert result.problem is not None
    assert result.problem.exit_code == 5
    assert str(artifact) in result.problem.cause
    assert "--layers" in result.problem.remedy


def test_a_shared_reference_is_opened_once(artifacts: Artifacts) -> None:
    log = Log()
    verifier = Verifier(progress=log)
    for path in artifacts.values():
        assert verifier.verify(path).parity.status == "pass"
    assert len([step for step in log.steps if "loading the weights random:3" in step]) == 1
    assert len([step for step in log.steps if step.endswith("reading")]) == 6


def test_a_document_is_plain_json(artifacts: Artifacts) -> None:
    result = Verifier().check(artifacts["coreml", "fp16"])
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["path"] == str(artifacts["coreml", "fp16"])
    expected = {
        "format": "coreml",
        "precision": "fp16",
        "model": SMALL.name,
        "task": "classify",
        "output": "probabilities",
        "resolution": list(SIZE),
        "batch": 1,
        "preprocess": True,
    }
    assert {key: document[key] for key in expected} == expected
    assert document["weights"]["source"] == "random:3"
    assert document["parity"]["status"] == "pass"
    assert "error" not in document


# --- the manifest beside ---------------------------------------------------------------------------------


def test_a_manifest_beside_is_optional(artifacts: Artifacts, tmp_path: Path) -> None:
    artifact = copied(artifacts["onnx", "fp32"], tmp_path, manifest=True)
    assert Verifier().verify(artifact).parity.status == "pass"
    beside(artifact).unlink()
    assert Verifier().verify(artifact).parity.status == "pass"


@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_an_artifact_that_was_changed_since_its_export_fails_by_its_hash(
    artifacts: Artifacts, tmp_path: Path, format_: str
) -> None:
    """Only the description changes, which no comparison detects."""
    artifact = copied(artifacts[format_, "fp32"], tmp_path, manifest=True)
    digest = json.loads(beside(artifact).read_text())["sha256"]
    annotate(artifact, format_, {})
    verification = Verifier().verify(artifact)
    assert verification.parity.status == "fail"
    assert f"sha256 is not {digest[:12]}" in verification.parity.reason
    assert {each.status for each in verification.parity.comparisons} == {"pass"}
    problem = verification.problem()
    assert problem is not None
    assert problem.exit_code == 5
    beside(artifact).unlink()
    assert Verifier().verify(artifact).parity.status == "pass"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "is damaged"), (b"", "is damaged"), (b"[]", "is damaged"), (b"{}", "is damaged")],
)
def test_a_damaged_manifest_beside_is_reported(artifacts: Artifacts, tmp_path: Path, content: bytes, said: str) -> None:
    artifact = copied(artifacts["onnx", "fp32"], tmp_path)
    beside(artifact).write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        Verifier().verify(artifact)
    assert str(beside(artifact)) in caught.value.cause


def test_another_artifacts_manifest_beside_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    artifact = copied(artifacts["onnx", "fp32"], tmp_path)
    shutil.copy(beside(artifacts["onnx", "fp16"]), beside(artifact))
    with pytest.raises(BadInput, match=r"contradicts the artifact in .*precision"):
        Verifier().verify(artifact)


# --- what was done to the file ---------------------------------------------------------------------------


def cast_through_half(artifact: Path) -> None:
    """Cast the output of every ReLU of an ONNX file to float16 and back; inputs and outputs stay float32."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(artifact)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        model.graph.node.append(node)
        if node.op_type == "Relu":
            (name,) = node.output
            model.graph.node[-1].output[0] = whole = f"{name}/whole"
            model.graph.node.append(helper.make_node("Cast", [whole], [f"{name}/half"], to=TensorProto.FLOAT16))
            model.graph.node.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    onnx.save(model, artifact)


def test_half_precision_hidden_in_a_float32_file_fails(artifacts: Artifacts, tmp_path: Path) -> None:
    """The file runs unchanged; widened to float32 like an fp16 file, it would agree."""
    artifact = copied(artifacts["onnx", "fp32"], tmp_path)
    cast_through_half(artifact)
    (program,) = Verifier().verify(artifact).parity.comparisons
    assert (program.check, program.mode, program.status) == ("program", "fp32", "fail")


def test_other_operations_than_were_exported_fail(artifacts: Artifacts, tmp_path: Path) -> None:
    """They change no value, but the file differs from the proven one."""
    import onnx
    from onnx import helper

    artifact = copied(artifacts["onnx", "fp32"], tmp_path)
    model = onnx.load(artifact)
    (last,) = [node for node in model.graph.node if list(node.output) == ["logits"]]
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Identity", ["before"], ["logits"]))
    onnx.save(model, artifact)
    verification = Verifier().verify(artifact)
    assert {each.status for each in verification.parity.comparisons} == {"pass"}
    assert verification.parity.status == "fail"
    assert verification.parity.reason == "it has other operations than were exported (Identity)"


def test_a_second_function_in_a_package_fails(artifacts: Artifacts, tmp_path: Path) -> None:
    """It is not compared with the model, and an app could call it."""
    from coremltools.proto import Model_pb2

    artifact = copied(artifacts["coreml", "fp16"], tmp_path)
    spec = Model_pb2.Model.FromString((artifact / SPEC).read_bytes())
    spec.mlProgram.functions["other"].CopyFrom(spec.mlProgram.functions["main"])
    (artifact / SPEC).write_bytes(spec.SerializeToString())
    problem = Verifier().check(artifact).problem
    assert problem is not None
    assert problem.exit_code == 5
    assert "other operations than were exported" in problem.cause


@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_another_interface_than_the_manifest_has_fails(artifacts: Artifacts, tmp_path: Path, key: str) -> None:
    artifact = copied(artifacts["tflite", "fp32"], tmp_path)
    document = json.loads(beside(artifacts["tflite", "fp32"]).read_text())
    document[key][0]["dtype"] = "uint8"
    annotate(artifact, "tflite", {METADATA_KEY: json.dumps(document)})
    verification = Verifier().verify(artifact)
    assert verification.parity.status == "fail"
    assert verification.parity.reason == f"it has other {key} than were exported"


@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_reordered_labels_are_refused(artifacts: Artifacts, tmp_path: Path, format_: str) -> None:
    artifact = copied(artifacts[format_, "fp32"], tmp_path)
    labels = json.loads(formats.read(artifact).metadata[LABELS_KEY])
    annotate(artifact, format_, {LABELS_KEY: json.dumps(labels[::-1])})
    assert "other labels than were exported" in refusal(artifact)


# --- the weights -----------------------------------------------------------------------------------------


def weights_file(path: Path, seed: int) -> Path:
    torch.save(untrained_model(SMALL, CLASSES, seed).state_dict(), path)
    return path


@pytest.mark.parametrize("folder", ["in the working directory", "beside the artifact"])
def test_weights_are_found_again_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"in the working directory": tmp_path, "beside the artifact": tmp_path / "out"}[folder]
    where.mkdir(exist_ok=True)
    weights = weights_file(where / "tuned.pth", 5)
    (artifact,) = made(tmp_path / "out", str(weights)).values()
    verification = Verifier().verify(artifact)
    assert verification.parity.status == "pass"
    assert verification.manifest.weights.source == "tuned.pth"
    assert verification.manifest.weights.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_missing_weights_are_named_and_can_be_passed(tmp_path: Path) -> None:
    weights = weights_file(tmp_path / "tuned.pth", 5)
    (artifact,) = made(tmp_path / "out", str(weights)).values()
    moved = weights.rename(tmp_path / "elsewhere.pth")
    with pytest.raises(BadInput, match="cannot be opened") as caught:
        Verifier().verify(artifact)
    assert str(artifact) in caught.value.cause
    assert weights.name in caught.value.cause
    assert "--weights" in caught.value.remedy
    assert Verifier(weights=str(moved)).verify(artifact).parity.status == "pass"


def test_a_relative_path_of_weights_is_refused_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights_file(Path("tuned.pth"), 5)
    (artifact,) = made(Path("out"), "tuned.pth").values()
    assert Verifier().verify(artifact).parity.status == "pass"
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(BadInput, match=r"cannot be opened.*tuned\.pth"):
        Verifier().verify(Path(artifact.name))
    assert Verifier(weights="../tuned.pth").verify(Path(artifact.name)).parity.status == "pass"


@pytest.mark.parametrize("spec", ["random:4", "random", "{other}"])
def test_other_weights_are_refused_by_their_hash(artifacts: Artifacts, tmp_path: Path, spec: str) -> None:
    """Even a file with the same values: the hash is that of the file."""
    spec = spec.format(other=weights_file(tmp_path / "other.pth", 3))
    with pytest.raises(BadInput, match=r"was not made from") as caught:
        Verifier(weights=spec).verify(artifacts["onnx", "fp32"])
    assert spec in caught.value.cause
    assert "sha256" in caught.value.cause
    assert "--weights" in caught.value.remedy


def test_a_weights_file_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    """For example after more training, under the same name."""
    weights = weights_file(tmp_path / "tuned.pth", 5)
    (artifact,) = made(tmp_path, str(weights)).values()
    weights_file(weights, 6)
    with pytest.raises(BadInput, match=r"was not made from"):
        Verifier().verify(artifact)


def test_weights_that_do_not_fit_are_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    torch.save(untrained_model(ModelName(tiny(4)), CLASSES, 0).state_dict(), tmp_path / "larger.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("larger.pth", "text.pth"):
        with pytest.raises(BadInput, match="cannot be opened") as caught:
            Verifier(weights=str(tmp_path / name)).verify(artifacts["onnx", "fp32"])
        assert name in caught.value.cause


def on_the_hub(server: Server, seed: int) -> None:
    server.content = save(untrained_model(SMALL, CLASSES, seed).state_dict())
    server.etag = hashlib.sha256(server.content).hexdigest()


def test_weights_from_the_hub_are_fetched_and_their_hash_is_checked(
    cache: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_hub(server, 5)
    (artifact,) = made(tmp_path / "out", f"hf:{REPO}").values()
    verification = Verifier().verify(artifact)
    assert verification.parity.status == "pass"
    assert verification.manifest.weights.source == f"hf:{REPO}/{FILE}"

    shutil.rmtree(cache)  # another machine
    server.requests.clear()
    assert Verifier().verify(artifact).parity.status == "pass"
    assert any(request.startswith("GET") for request in server.requests)

    shutil.rmtree(cache)
    on_the_hub(server, 6)  # the repository has moved on
    with pytest.raises(BadInput, match=r"was not made from"):
        Verifier().verify(artifact)

    shutil.rmtree(cache)
    point_at("http://127.0.0.1:1", monkeypatch)
    with pytest.raises(BadInput, match=r"cannot be opened.*127\.0\.0\.1:1") as caught:
        Verifier().verify(artifact)
    assert "--weights" in caught.value.remedy


# --- pictures of one's own -------------------------------------------------------------------------------


def test_pictures_of_ones_own_are_compared_too(artifacts: Artifacts, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 90, 3), (10, 200, 30), dtype=np.uint8)).save(tmp_path / "grass.png")
    verification = Verifier(inputs=tmp_path).verify(artifacts["coreml", "fp16"])
    assert verification.parity.status == "pass"
    for comparison in verification.parity.comparisons:
        assert comparison.inputs == (*standard_images(*SIZE), "grass.png")


def test_a_folder_without_images_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match=str(folder)):
            Verifier(inputs=folder).verify(artifacts["onnx", "fp32"])


# --- modes -----------------------------------------------------------------------------------------------

REWRITES = ("rewrites", "pytorch", "fp32")
PROGRAM = ("program", "mil", "fp32")


@pytest.mark.parametrize(
    ("format_", "precision", "mode", "expected"),
    [
        ("coreml", "fp16", "fp32", [REWRITES, PROGRAM]),
        ("coreml", "fp16", "fp16", [REWRITES, PROGRAM, ("precision", "mil", "fp16")]),
        ("coreml", "fp16", "ane", [REWRITES, PROGRAM, ("precision", "mil", "ane")]),
        ("coreml", "fp32", "fp32", [PROGRAM]),
        ("coreml", "fp32", "ane", [PROGRAM]),  # it has nothing in half precision
        ("onnx", "fp32", "fp32", [("program", "onnxruntime", "fp32")]),
        ("onnx", "fp16", "fp32", [REWRITES, ("program", "onnxruntime", "fp32")]),
        (
            "onnx",
            "fp16",
            "fp16",
            [REWRITES, ("program", "onnxruntime", "fp32"), ("precision", "onnxruntime", "fp16")],
        ),
        ("tflite", "fp16", "fp32", [REWRITES, ("program", "litert", "fp32")]),
    ],
)
def test_a_mode_is_what_is_compared(
    artifacts: Artifacts, format_: str, precision: str, mode: str, expected: list[tuple[str, str, str]]
) -> None:
    verification = Verifier(mode=mode).verify(artifacts[format_, precision])
    assert verification.parity.status == "pass"
    assert compared(verification) == expected
    if mode == "ane" and precision == "fp16":
        assert verification.parity.comparisons[-1].tolerance == TOLERANCES["coreml", "ane"]


def test_the_modes_of_a_package_differ(artifacts: Artifacts) -> None:
    """Otherwise the modes would be the same."""
    last = [
        Verifier(mode=mode).verify(artifacts["coreml", "fp16"]).parity.comparisons[-1].measures.mean_abs
        for mode in ("fp32", "fp16", "ane")
    ]
    assert last[0] < 0.1 * last[1]
    assert last[1] != last[2]


def test_a_failure_in_mode_ane_alone_advises_other_compute_units(artifacts: Artifacts) -> None:
    """Exporting it again would change nothing."""
    verification = Verifier(mode="ane").verify(artifacts["coreml", "fp16"])
    *sound, last = verification.parity.comparisons
    failing = replace(last, tolerance=replace(last.tolerance, max_abs=0.0))

    def remedy(*comparisons: OutputComparison) -> str:
        problem = replace(
            verification, parity=Parity(status="fail", reason="too far", comparisons=comparisons)
        ).problem()
        assert problem is not None
        return problem.remedy

    assert "cpuAndGPU" in remedy(*sound, failing)
    assert "cpuAndGPU" not in remedy(*sound, replace(failing, mode="fp16"))
    assert "cpuAndGPU" not in remedy(replace(sound[0], tolerance=failing.tolerance), *sound[1:], failing)


@pytest.mark.parametrize(
    ("format_", "mode", "compute_units", "said"),
    [
        ("onnx", "ane", None, "onnxruntime, which does not compute in mode ane"),
        ("tflite", "ane", None, "litert, which does not compute in mode ane"),
        ("tflite", "fp16", None, "litert, which does not compute in mode fp16"),
        ("onnx", None, "cpuOnly", "does not compute in mode cpuOnly"),
        ("coreml", None, "cpuOnly", "macOS"),
        ("coreml", None, "cpuAndNeuralEngine", "macOS"),
    ],
)
def test_a_mode_that_this_host_lacks_is_not_run(
    artifacts: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
    mode: str | None,
    compute_units: str | None,
    said: str,
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    result = Verifier(mode=mode, compute_units=compute_units).check(artifacts[format_, "fp16"])
    assert result.verification is not None
    assert (result.verification.parity.status, result.verification.parity.comparisons) == ("not_run", ())
    assert said in result.verification.parity.reason
    assert result.problem is not None
    assert result.problem.exit_code == 6


# --- what cannot be verified -----------------------------------------------------------------------------


def with_another_operation(package: Path) -> None:
    """Change the first ReLU to an unknown operation."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model.FromString((package / SPEC).read_bytes())
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    next(operation for operation in operations if operation.type == "relu").type = "frobnicate"
    (package / SPEC).write_bytes(spec.SerializeToString())


def test_an_unknown_operation_is_named_and_not_run(artifacts: Artifacts, tmp_path: Path) -> None:
    package = copied(artifacts["coreml", "fp16"], tmp_path)
    with_another_operation(package)
    result = Verifier().check(package)
    assert result.verification is not None
    assert result.verification.parity.status == "not_run"
    assert "frobnicate" in result.verification.parity.reason
    assert result.problem is not None
    assert result.problem.exit_code == 6


def with_other_labels(package: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the labels in the program, which Core ML returns; the metadata stays."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model.FromString((package / SPEC).read_bytes())
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    (classify,) = [operation for operation in operations if operation.type == "classify"]
    values = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
    labels = [value.immediateValue.tensor.strings.values for value in values]
    for strings, label in zip(labels, change([strings[0] for strings in labels]), strict=True):
        strings[0] = label
    (package / SPEC).write_bytes(spec.SerializeToString())


def test_a_package_whose_labels_are_exchanged_fails(artifacts: Artifacts, tmp_path: Path) -> None:
    """The package names another class than the model, with the right probability."""
    package = copied(artifacts["coreml", "fp16"], tmp_path)
    with_other_labels(package, lambda labels: [labels[1], labels[0], *labels[2:]])
    assert Verifier().verify(package).parity.status == "fail"


def test_a_package_with_another_label_is_damaged(artifacts: Artifacts, tmp_path: Path) -> None:
    package = copied(artifacts["coreml", "fp16"], tmp_path)
    with_other_labels(package, lambda labels: ["clazz 0", *labels[1:]])
    assert "its classes are not the labels" in refusal(package)


def refusal(artifact: Path) -> str:
    result: VerifyResult = Verifier().check(artifact)
    assert result.verification is None
    assert result.problem is not None
    assert result.problem.exit_code == 3
    assert json.loads(json.dumps(result.to_dict())) == {
        "path": str(artifact),
        "error": {"exit_code": 3, "cause": result.problem.cause, "remedy": result.problem.remedy},
    }
    return result.problem.cause


@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_a_foreign_file_is_refused(artifacts: Artifacts, tmp_path: Path, format_: str) -> None:
    artifact = copied(artifacts[format_, "fp32"], tmp_path)
    strip_metadata(artifact, format_)
    assert "was not made by evim-deploy" in refusal(artifact)


def strip_metadata(artifact: Path, format_: str) -> None:
    if format_ == "onnx":
        import onnx

        model = onnx.load(artifact)
        del model.metadata_props[:]
        onnx.save(model, artifact)
    elif format_ == "tflite":  # a flatbuffer, in which names of the same length are exchanged safely
        content = artifact.read_bytes()
        key = METADATA_KEY.encode()
        assert content.count(key) == 1
        artifact.write_bytes(content.replace(key, key[::-1]))
    else:
        from coremltools.proto import Model_pb2

        spec = Model_pb2.Model.FromString((artifact / SPEC).read_bytes())
        spec.description.metadata.userDefined.clear()
        (artifact / SPEC).write_bytes(spec.SerializeToString())


@pytest.mark.parametrize(
    "changes",
    [
        {METADATA_KEY: "{"},
        {METADATA_KEY: "null"},
        {METADATA_KEY: '{"schema_version": 2}'},
        {LABELS_KEY: "["},
        {LABELS_KEY: '["one label"]'},
    ],
)
@pytest.mark.parametrize("format_", ["onnx", "tflite", "coreml"])
def test_damaged_metadata_is_refused(
    artifacts: Artifacts, tmp_path: Path, format_: str, changes: dict[str, str]
) -> None:
    artifact = copied(artifacts[format_, "fp32"], tmp_path)
    annotate(artifact, format_, changes)
    assert "its metadata cannot be read" in refusal(artifact)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resolution", [48, 40]),
        ("batch", 2),
        ("format", "tflite"),
        ("output", "probabilities"),
        ("precision", "fp16"),
        ("preprocess", False),
        ("task", "features"),
        ("model", "efficientvim_m1"),
    ],
)
def test_metadata_that_contradicts_the_file_does_not_pass(
    artifacts: Artifacts, tmp_path: Path, key: str, value: object
) -> None:
    artifact = copied(artifacts["onnx", "fp32"], tmp_path)
    document = json.loads(beside(artifacts["onnx", "fp32"]).read_text())
    text = json.dumps({**document, key: value})
    annotate(artifact, "onnx", {METADATA_KEY: text})
    problem = Verifier().check(artifact).problem
    assert problem is not None
    assert problem.exit_code in (3, 5)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
@pytest.mark.parametrize("kind", ["missing", "empty", "text", "directory"])
def test_files_that_are_not_artifacts_are_refused(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"model{suffix}"
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"no model\n" * 100)
    assert str(path) in refusal(path)


@pytest.mark.parametrize("name", ["model.pt", "model", "model.onnx.json"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("something")
    assert name in refusal(tmp_path / name)
