"""Packages with a function for each size: their contents, the proof of each function, and refused requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mil_packages import Program, changed
from networks import tiny
from PIL import Image

import runtimes
from evim_deploy.artifact.metadata import METADATA_KEY
from evim_deploy.artifact.parity import Parity
from evim_deploy.catalog.variants import MODELS, VARIANTS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.commands.verify import Verifier, VerifyResult
from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.formats.coreml import model_path, read_spec
from evim_deploy.inspection import inspect
from exporters.coreml import graph as coreml
from tests.commands.test_verify import copied

SMALL = ModelName(tiny(5, depths=(1, 1, 1)))
CLASSES = 12
SIZES = ((40, 48), (64, 40), (32, 32))
NAMES = ["size_40x48", "size_64x40", "size_32x32"]


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    MODELS[SMALL.name], VARIANTS[SMALL.variant.name] = SMALL, SMALL.variant
    yield
    del MODELS[SMALL.name], VARIANTS[SMALL.variant.name]


def made(folder: Path, sizes: tuple[tuple[int, int], ...] = SIZES, **options: Any) -> dict[str, Any]:
    """The document of an exported package of the small model."""
    classes = None if options.get("task") == "features" else CLASSES
    settings = {"weights": "random:3", "num_classes": classes, "output_dir": folder, **options}
    (document,) = export(Request(model=SMALL, formats=("coreml",), sizes=sizes, **settings))
    return document


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("functions")
    return made(folder, deployment_target="iOS18", multifunction=True, golden=True)


@pytest.fixture(scope="module")
def package(exported: dict[str, Any]) -> Path:
    return Path(exported["path"])


# --- what is exported --------------------------------------------------------------------------------------


def test_each_function_is_described_and_proven(exported: dict[str, Any]) -> None:
    assert exported["resolution"] == list(SIZES[0])
    assert exported["parity"]["status"] == "pass"
    assert [function["name"] for function in exported["functions"]] == NAMES
    assert "_40x48_64x40_32x32_" in exported["path"]
    for function, size in zip(exported["functions"], SIZES, strict=True):
        assert function["resolution"] == list(size)
        assert [spec["shape"] for spec in function["inputs"]] == [(1, 3, *size)]
        assert [spec["name"] for spec in function["outputs"]] == ["classLabel", "classLabel_probs"]
        parity = function["parity"]
        assert (parity["status"], parity["power"]["size"]) == ("pass", list(size))
        assert [each["subject"] for each in parity["comparisons"]] == ["rewrites", "program", "precision"]
        assert parity["stored"]["compared"] == parity["stored"]["arrays"]


def test_the_functions_share_their_weights(package: Path, tmp_path: Path) -> None:
    single = made(tmp_path, SIZES[:1], verify=False)
    assert single["functions"] == []
    shared, alone = (
        (model_path(path).with_name("weights") / "weight.bin").stat().st_size
        for path in (package, Path(single["path"]))
    )
    assert shared < 1.1 * alone


def test_nothing_but_the_artifact_s_files_is_left(package: Path) -> None:
    assert sorted(path.name.removeprefix(package.name) for path in package.parent.iterdir()) == [
        "",
        ".golden.safetensors",
        ".json",
    ]


def test_every_function_has_the_description_that_xcode_shows(package: Path) -> None:
    description = read_spec(package).description
    assert description.defaultFunctionName == NAMES[0]
    assert sorted(function.name for function in description.functions) == sorted(NAMES)
    shown = description.metadata
    assert all((shown.author, shown.license, shown.versionString, shown.shortDescription))
    assert shown.userDefined["com.apple.coreml.model.preview.type"] == "imageClassifier"
    for function in description.functions:
        assert (function.predictedFeatureName, function.predictedProbabilitiesName) == (
            "classLabel",
            "classLabel_probs",
        )
        assert all(feature.shortDescription for feature in (*function.input, *function.output))


def test_dense_features_are_functions_too(tmp_path: Path) -> None:
    options = {"deployment_target": "iOS18", "multifunction": True, "task": "features"}
    document = made(tmp_path, SIZES[:2], **options)
    comparisons = [each for function in document["functions"] for each in function["parity"]["comparisons"]]
    assert [each["status"] for each in comparisons] == ["pass"] * 6
    names = [[spec["name"] for spec in function["outputs"]] for function in document["functions"]]
    assert names == [["stride16", "stride32", "stride64"]] * 2


# --- what the other commands make of it --------------------------------------------------------------------


def test_it_is_verified_function_by_function(package: Path, exported: dict[str, Any]) -> None:
    result = Verifier().check(package)
    assert result.problem is None
    document = result.to_dict()
    assert document["parity"]["status"] == "pass"
    for now, then in zip(document["functions"], exported["functions"], strict=True):
        assert (now["name"], now["resolution"]) == (then["name"], then["resolution"])
        errors = [[each["measures"]["max_abs"] for each in one["parity"]["comparisons"]] for one in (now, then)]
        assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_the_default_function_is_matched_and_predicts(package: Path, tmp_path: Path) -> None:
    verifier = Verifier()
    assert verifier.layers(verifier.verify(package)).status == "pass"
    Image.new("RGB", (60, 60), (200, 100, 50)).save(tmp_path / "image.png")
    (prediction,) = predict(package, [tmp_path / "image.png"], 3).predictions
    assert len(prediction.top) == 3


def test_each_function_is_inspected_the_default_one_first(package: Path) -> None:
    result = inspect(package)
    assert result.functions[0].name == NAMES[0]
    assert {function.name: function.inputs[0].shape for function in result.functions} == {
        name: (1, 3, *size) for name, size in zip(NAMES, SIZES, strict=True)
    }
    assert [target.kept_off for function in result.functions for target in function.targets[:1]] == [0, 0, 0]


def test_core_ml_s_own_session_takes_a_function(package: Path) -> None:
    from runtimes.coreml import CoremlSession

    fed: list[Any] = []

    def answer(inputs: Any) -> Any:
        fed.append(inputs["image"].size)
        return {"classLabel_probs": {f"class {index}": 1 / CLASSES for index in range(CLASSES)}}

    model = SimpleNamespace(get_spec=lambda: read_spec(package), predict=answer)
    for name, (height, width) in zip((None, NAMES[1]), SIZES[:2], strict=True):
        CoremlSession(package, model, name).run(np.zeros((1, 3, height, width), np.float32))
    assert fed == [(width, height) for height, width in SIZES[:2]]


# --- what is wrong with one is found -----------------------------------------------------------------------


def verified(path: Path) -> VerifyResult:
    result = Verifier().check(path)
    assert isinstance(result.problem, EvimError)
    return result


def test_a_weight_of_one_function_alone_is_found_there(package: Path, tmp_path: Path) -> None:
    """One function uses another array of the shared weights."""

    def change(program: Program) -> None:
        values = {op.outputs[0].name: op.attributes["val"] for op in program.block.operations if op.type == "const"}
        one, other = (values[f"stages_0_blocks_0_dwconv{i}_conv_weight_0_to_fp16"] for i in (1, 2))
        assert one.blobFileValue.offset != other.blobFileValue.offset
        one.blobFileValue.CopyFrom(other.blobFileValue)

    result = verified(changed(package, tmp_path / package.name, change, NAMES[1]))
    assert result.problem is not None
    assert result.problem.exit_code == 5
    assert result.verification is not None
    assert [parity.status for parity in result.verification.functions.values()] == ["pass", "fail", "pass"]
    assert result.verification.parity.reason.startswith("size_64x40: program (mil, fp32)")
    assert "stages.0.blocks.0.dwconv1.conv" in result.verification.parity.reason


def _renamed(spec: Any, document: dict[str, Any]) -> None:
    body = spec.mlProgram.functions
    body["size_33x33"].CopyFrom(body[NAMES[2]])
    del body[NAMES[2]]
    next(each for each in spec.description.functions if each.name == NAMES[2]).name = "size_33x33"


def _another_default(spec: Any, document: dict[str, Any]) -> None:
    spec.description.defaultFunctionName = NAMES[1]


def _one_more(spec: Any, document: dict[str, Any]) -> None:
    spec.mlProgram.functions["extra"].CopyFrom(spec.mlProgram.functions[NAMES[0]])


def _other_inputs(spec: Any, document: dict[str, Any]) -> None:
    document["functions"][1]["inputs"][0]["shape"] = [1, 3, 64, 41]


def _other_size(spec: Any, document: dict[str, Any]) -> None:
    document["functions"][1]["resolution"] = [64, 41]


def _other_size_and_name(spec: Any, document: dict[str, Any]) -> None:
    document["functions"][1].update(resolution=[64, 41], name="size_64x41")


def _other_order(spec: Any, document: dict[str, Any]) -> None:
    document["functions"].reverse()


def _none(spec: Any, document: dict[str, Any]) -> None:
    document["functions"] = []


def _no_list(spec: Any, document: dict[str, Any]) -> None:
    document["functions"] = {"size_40x48": {}}


@pytest.mark.parametrize(
    ("change", "exit_code", "cause"),
    [
        (_renamed, 3, "has no function 'size_32x32'"),
        (_another_default, 5, "other functions than were exported"),
        (_one_more, 5, "other functions than were exported"),
        (_other_inputs, 5, "other functions than were exported"),
        (_other_size, 3, "the names of its functions contradict their sizes"),
        (_other_size_and_name, 3, "has no function 'size_64x41'"),
        (_other_order, 3, "the names of its functions contradict their sizes"),
        (_none, 5, "other functions than were exported"),
        (_no_list, 3, "functions: Input should be a valid list"),
    ],
)
def test_a_package_with_a_wrong_manifest_is_refused(
    package: Path, tmp_path: Path, change: Callable[[Any, dict[str, Any]], None], exit_code: int, cause: str
) -> None:
    path = copied(package, tmp_path)
    spec = read_spec(path)
    document = json.loads(spec.description.metadata.userDefined[METADATA_KEY])
    change(spec, document)
    spec.description.metadata.userDefined[METADATA_KEY] = json.dumps(document)
    model_path(path).write_bytes(spec.SerializeToString())
    problem = verified(path).problem
    assert problem is not None
    assert (problem.exit_code, cause in problem.cause) == (exit_code, True), problem.cause


def test_an_unknown_function_is_answered_with_those_there_are(package: Path) -> None:
    with pytest.raises(BadInput, match=r"(?s)no function 'size_1x1'.*size_32x32, size_40x48, size_64x40"):
        runtimes.open_artifact(package, mode="fp16", function="size_1x1").__enter__()


def test_the_status_of_all_functions_is_the_worst() -> None:
    each = {
        "a": Parity(status="pass", reason=""),
        "b": Parity(status="warning", reason="weak"),
        "c": Parity(status="not_run", reason="not here"),
    }
    assert Parity.of_functions(each) == Parity(status="not_run", reason="b: weak; c: not here")
    assert Parity.of_functions({**each, "d": Parity(status="fail", reason="wrong")}).status == "fail"
    assert Parity.of_functions({"a": each["a"], "b": each["b"]}).status == "warning"


def test_a_function_that_fails_keeps_the_whole_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One function of three has other weights: no file of the package is kept."""
    build = coreml._build_function

    def perturbed(graph: Any, target: Any, path: Path) -> Any:
        graph = graph.copy()
        node = next(node for node in graph.nodes if node.op == "conv")
        if path.stem == NAMES[1]:
            graph.substitute(node, node.with_weights(kernel=1.02 * node.weights["kernel"]))
        return build(graph, target, path)

    monkeypatch.setattr(coreml, "_build_function", perturbed)
    with pytest.raises(EvimError) as caught:
        made(tmp_path, deployment_target="iOS18", multifunction=True)
    assert caught.value.exit_code == 5
    assert "size_64x40: program" in caught.value.cause
    assert list(tmp_path.iterdir()) == []


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "sizes", "target", "cause"),
    [
        ("coreml", SIZES, "iOS16", "requires the deployment target iOS18, got iOS16"),
        ("coreml", SIZES, "iOS17", "requires the deployment target iOS18, got iOS17"),
        ("coreml", SIZES[:1], "iOS18", "--multifunction requires several resolutions"),
        ("coreml", (SIZES[0], SIZES[0]), "iOS18", "--multifunction requires several resolutions"),
        ("coreml", (), "iOS18", "--multifunction requires several resolutions"),
        ("coreml", (*SIZES, None), "iOS18", "does not support a dynamic batch or resolution"),
        ("onnx", SIZES, None, "onnx does not support --multifunction"),
        ("tflite", SIZES, None, "tflite does not support --multifunction"),
    ],
)
def test_requests_without_several_functions_are_refused(
    format_: str, sizes: Any, target: str | None, cause: str
) -> None:
    with pytest.raises(BadInput) as caught:
        plan_targets(
            Request(model=SMALL, formats=(format_,), sizes=sizes, deployment_target=target, multifunction=True)
        )
    assert cause in caught.value.cause
    assert caught.value.exit_code == 3


def test_several_functions_alone_say_for_which_system() -> None:
    (target,) = plan_targets(Request(model=SMALL, formats=("coreml",), sizes=SIZES, multifunction=True))
    assert target.deployment_target == "iOS18"


# --- deployment targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "version"), [(None, 7), ("iOS17", 8), ("iOS18", 9)])
def test_every_deployment_target_is_proven(tmp_path: Path, target: str | None, version: int) -> None:
    document = made(tmp_path, SIZES[:1], deployment_target=target)
    path = Path(document["path"])
    assert (document["parity"]["status"], document["deployment_target"]) == ("pass", target)
    assert read_spec(path).specificationVersion == version
    assert path.name.endswith(f"fp16_{target}.mlpackage" if target else "fp16.mlpackage")
