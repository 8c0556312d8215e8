"""Damaged Core ML packages: one message that names each damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mil_packages import Program, changed, classifier

from evim_deploy.common.errors import BadInput
from evim_deploy.formats.coreml import model_path, read_package, read_spec
from evim_deploy.formats.protobuf import core_ml

BLOB = Path("Data/com.apple.CoreML/weights/weight.bin")
SPEC = Path("Data/com.apple.CoreML/model.mlmodel")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "sound.mlpackage"
    classifier(path, half=True)
    return path


@pytest.fixture
def package(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy.mlpackage"))


def refused(package: Path, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        read_package(package)
    assert package.name in caught.value.cause
    assert "\n" not in caught.value.cause


@pytest.mark.parametrize("member", [BLOB, SPEC, Path("Manifest.json")], ids=lambda path: path.name)
def test_a_missing_file_is_named(package: Path, member: Path) -> None:
    (package / member).unlink()
    refused(package, f"incomplete: it has no {member.name}")


@pytest.mark.parametrize("member", [BLOB, SPEC, Path("Manifest.json")], ids=lambda path: path.name)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_file_is_reported(package: Path, member: Path, share: float) -> None:
    content = (package / member).read_bytes()
    (package / member).write_bytes(content[: int(share * len(content))])
    refused(package, "damaged|holds a Core ML nothing")


def test_weights_that_are_a_folder_are_missing(package: Path) -> None:
    (package / BLOB).unlink()
    (package / BLOB).mkdir()
    refused(package, r"incomplete: it has no weight\.bin")


def entry(path: Any) -> str:
    return json.dumps({"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": path}}})


@pytest.mark.parametrize(
    "content",
    [
        *("", "null", "[]", '"text"', "{}", '{"rootModelIdentifier": "a"}', "[" * 100_000),
        json.dumps({"rootModelIdentifier": "a", "itemInfoEntries": {"b": {"path": "x"}}}),
        json.dumps({"rootModelIdentifier": ["a"], "itemInfoEntries": {}}),
        *map(entry, (None, 3, ["x"], "../../../etc/passwd", "/etc/passwd", "a\0b")),
    ],
)
def test_a_manifest_that_names_no_model_is_reported(package: Path, content: str) -> None:
    (package / "Manifest.json").write_text(content)
    refused(package, "Manifest.json names no model in it")


@pytest.mark.parametrize("path", ["missing.mlmodel", "x" * 5000, "", "com.apple.CoreML"])
def test_a_model_that_is_not_there_is_reported(package: Path, path: str) -> None:
    (package / "Manifest.json").write_text(entry(path))
    refused(package.parent / package.name, "incomplete|cannot be read")


def test_a_circle_of_links_is_reported(package: Path) -> None:
    (package / SPEC).unlink()
    (package / SPEC).symlink_to(SPEC.name)
    refused(package, "damaged|incomplete|cannot be read")


def test_another_kind_of_model_is_reported(package: Path) -> None:
    spec = core_ml("Model_pb2").Model()
    spec.neuralNetwork.SetInParent()
    model_path(package).write_bytes(spec.SerializeToString())
    refused(package, "holds a Core ML neuralNetwork, not an ML Program")
    assert read_spec(package).WhichOneof("Type") == "neuralNetwork"


def conv_weight(program: Program) -> Any:
    return program.value("conv", "weight")


def dimensions(value: Any) -> Any:
    return value.type.tensorType.dimensions


CHANGES: dict[str, tuple[Callable[[Program], Any], str]] = {
    "a weight from elsewhere": (
        lambda program: setattr(conv_weight(program).blobFileValue, "fileName", "@model_path/../../../x"),
        "outside of itself",
    ),
    "a weight from a file without a name": (
        lambda program: setattr(conv_weight(program).blobFileValue, "fileName", "a\0b"),
        r"names a file outside of itself, .*a\\x00b",
    ),
    "a weight from a file with a name that no file has": (
        lambda program: setattr(conv_weight(program).blobFileValue, "fileName", "a" * 5000),
        "cannot be read: File name too long",
    ),
    "a weight beyond the file": (
        lambda program: setattr(conv_weight(program).blobFileValue, "offset", 2**40),
        "before a record at 1099511627776",
    ),
    "a weight that begins elsewhere": (
        lambda program: setattr(conv_weight(program).blobFileValue, "offset", 65),
        "has no weight record",
    ),
    "a weight of 2^40 elements": (
        lambda program: setattr(dimensions(conv_weight(program))[0].constant, "size", 2**40),
        "elements of 16 bits",
    ),
    "a constant of 2^40 elements": (
        lambda program: setattr(dimensions(program.value("conv", "strides"))[0].constant, "size", 2**40),
        "2 elements, not 1099511627776",
    ),
    "a constant of an open shape": (
        lambda program: dimensions(conv_weight(program))[0].unknown.SetInParent(),
        "a constant of an open shape",
    ),
    "a constant of another type": (
        lambda program: setattr(conv_weight(program).type.tensorType, "dataType", 11),
        "are float16, not float32",
    ),
    "a type that there is not": (
        lambda program: setattr(conv_weight(program).type.tensorType, "dataType", 77),
        "not type 77",
    ),
    "integers for a string": (
        lambda program: program.integers("conv", "pad_type", 1),
        "ints for an array of string",
    ),
    "a constant without a value": (
        lambda program: program.value("conv", "strides").ClearField("immediateValue"),
        "a constant that is nothing",
    ),
    "a constant without elements": (
        lambda program: program.value("conv", "strides").immediateValue.tensor.ClearField("ints"),
        "without elements",
    ),
    "a dictionary for a constant": (
        lambda program: program.value("conv", "strides").immediateValue.dictionary.values.add(),
        "a constant that is dictionary",
    ),
    "an operation without an output": (
        lambda program: program.operation("conv").ClearField("outputs"),
        "'conv' without an output",
    ),
    "a parameter without a value": (
        lambda program: program.operation("conv").inputs["weight"].ClearField("arguments"),
        "'weight' has no argument",
    ),
    "a value that nothing gives": (
        lambda program: setattr(program.operation("relu").inputs["x"].arguments[0], "name", "gone"),
        "'gone' before its definition",
    ),
    "a value before it is given": (
        lambda program: setattr(program.operation("conv").inputs["x"].arguments[0], "name", "probabilities"),
        "'probabilities' before its definition",
    ),
    "a value that is defined twice": (
        lambda program: program.block.operations.add().CopyFrom(program.operation("relu")),
        "is defined twice",
    ),
    "an output that nothing gives": (
        lambda program: program.block.outputs.append("gone"),
        "'gone' before its definition",
    ),
    "another opset": (
        lambda program: setattr(program.spec.mlProgram.functions["main"], "opset", "CoreML99"),
        "no operations for its 'CoreML99'",
    ),
    "another default function": (
        lambda program: setattr(program.spec.description, "defaultFunctionName", "gone"),
        "no function 'gone'",
    ),
    "no constant for a const": (
        lambda program: program.operation("const").attributes.clear(),
        "a constant without a value",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_program_that_contradicts_itself_is_reported(sound: Path, tmp_path: Path, name: str) -> None:
    change, message = CHANGES[name]
    refused(changed(sound, tmp_path / "changed.mlpackage", change), message)
