"""Core ML packages read back from disk: everything in them as it was put there, and every damage told as one."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_packages import LABELS, SIDE, WEIGHTS, Program, changed, classifier

from evim_deploy.contents.blob import element_bits, read_blob, unpack
from evim_deploy.contents.coreml import model_path, read_package, read_spec
from evim_deploy.contents.protobuf import core_ml
from evim_deploy.errors import BadInput

BLOB = Path("Data/com.apple.CoreML/weights/weight.bin")
SPEC = Path("Data/com.apple.CoreML/model.mlmodel")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    for name, half in (("fp32", False), ("fp16", True)):
        classifier(folder / f"{name}.mlpackage", half)
    return {name: folder / f"{name}.mlpackage" for name in ("fp32", "fp16")}


@pytest.fixture
def package(packages: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages["fp16"], tmp_path / "copy.mlpackage"))


# --- what is in a package ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_everything_is_read(packages: dict[str, Path], precision: str) -> None:
    found = read_package(packages[precision])
    function = found.functions[found.default_function]
    dtype = {"fp32": "float32", "fp16": "float16"}[precision]
    assert function.inputs["image"].shape == (1, 3, SIDE, SIDE)
    assert [op.type for op in function.operations if op.type not in ("cast", "mul")] == [
        *("conv", "relu", "layer_norm", "reduce_mean", "linear", "softmax", "classify")
    ]
    conv = next(op for op in function.operations if op.type == "conv")
    weight = function.constants[str(conv.inputs["weight"][0])]
    assert weight.type.dtype == dtype
    assert weight.stored_bytes == WEIGHTS["conv_weight"].astype(dtype).nbytes
    assert np.array_equal(weight.value, WEIGHTS["conv_weight"].astype(dtype))
    assert conv.outputs[0][1].shape == (1, 6, SIDE // 2, SIDE // 2)
    assert conv.outputs[0][1].is_float
    strides = function.constants[str(conv.inputs["strides"][0])]
    assert (strides.type.dtype, np.asarray(strides.value).tolist(), strides.stored_bytes) == ("int32", [2, 2], 0)
    assert function.constants[str(conv.inputs["groups"][0])].value == 1
    assert function.constants[str(conv.inputs["pad_type"][0])].value == "custom"
    (labels,) = function.operations[-1].inputs["classes"]
    assert np.asarray(labels.value).tolist() == list(LABELS)  # type: ignore[union-attr]


def test_weights_come_from_the_file(package: Path) -> None:
    """A byte of the file, and with it the constant, changes."""

    def weight() -> Any:
        function = read_package(package).functions["main"]
        conv = next(op for op in function.operations if op.type == "conv")
        return function.constants[str(conv.inputs["weight"][0])].value

    before = weight()
    content = bytearray((package / BLOB).read_bytes())
    content[content.index(before.tobytes())] ^= 1
    (package / BLOB).write_bytes(content)
    assert np.flatnonzero((weight() != before).ravel()).tolist() == [0]


def test_the_messages_are_coremltools_own() -> None:
    from coremltools.proto import Model_pb2

    assert core_ml("Model_pb2").Model is Model_pb2.Model


def test_a_package_is_read_without_importing_coremltools(packages: dict[str, Path]) -> None:
    """It takes six seconds where TensorFlow is installed."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from evim_deploy.contents.coreml import read_package;"
        f"read_package(Path({str(packages['fp16'])!r})); sys.exit('coremltools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# --- the file of weights -----------------------------------------------------------------------------------

WRITERS: dict[str, tuple[str, Any]] = {
    "float32": ("write_float_data", np.float32),
    "float16": ("write_fp16_data", np.float16),
    "int8": ("write_int8_data", np.int8),
    "uint8": ("write_uint8_data", np.uint8),
    "int16": ("write_int16_data", np.int16),
    "uint16": ("write_uint16_data", np.uint16),
    "int32": ("write_int32_data", np.int32),
    "uint32": ("write_uint32_data", np.uint32),
    "int4": ("write_int4_data", np.int8),
    **{f"uint{bits}": (f"write_uint{bits}_data", np.uint8) for bits in (1, 2, 3, 4, 6)},
}


@pytest.mark.parametrize("dtype", WRITERS)
@pytest.mark.parametrize("count", [1, 7, 64])
def test_coremltools_writes_what_is_read(tmp_path: Path, dtype: str, count: int) -> None:
    from coremltools.libmilstoragepython import _BlobStorageWriter

    method, numpy_type = WRITERS[dtype]
    draw = np.random.RandomState(count)
    bits = element_bits(dtype)
    low = 0 if dtype.startswith("uint") else -(2 ** (bits - 1))
    high = 2 ** (bits if dtype.startswith("uint") else bits - 1)
    values = draw.randn(count) if dtype.startswith("float") else draw.randint(low, high, count, np.int64)
    values = values.astype(numpy_type)
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    offset = getattr(writer, method)(values.view(np.uint16) if dtype == "float16" else values)
    del writer  # which closes the file
    found = read_blob((tmp_path / "weight.bin").read_bytes(), offset, dtype, count)
    assert np.array_equal(found, values)


def test_bfloat16_is_the_first_half_of_float32() -> None:
    values = np.array([1.0, -2.5, 3.140625], dtype=np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    assert unpack(halves.tobytes(), "bfloat16", 3).tolist() == values.tolist()


RECORD = struct.pack("<IIQQQ", 0xDEADBEEF, 1, 8, 64, 0).ljust(64, b"\0")


@pytest.mark.parametrize(
    ("content", "offset", "dtype", "count", "message"),
    [
        (b"", 0, "float16", 4, "end at byte 0"),
        (RECORD, 2**60, "float16", 4, "before a record at"),
        (bytes(128), 0, "float16", 4, "no record of weights at byte 0"),
        (RECORD, 0, "float16", 4, "end at byte 64, before those of byte 64 to 72"),
        (RECORD + bytes(8), 0, "float32", 2, "are float16, not float32"),
        (RECORD + bytes(8), 0, "float16", 2**40, "have 8 bytes, not 1099511627776 elements"),
        (RECORD + bytes(8), 0, "float16", 3, "have 8 bytes, not 3 elements of 16 bits"),
        (RECORD[:4] + b"\x63\0\0\0" + RECORD[8:] + bytes(8), 0, "float16", 4, "are of type 99"),
    ],
)
def test_a_damaged_record_is_told(content: bytes, offset: int, dtype: str, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_blob(content, offset, dtype, count)
    assert read_blob(RECORD + bytes(8), 0, "float16", 4).tolist() == [0] * 4


# --- damaged packages --------------------------------------------------------------------------------------


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
def test_a_truncated_file_is_told(package: Path, member: Path, share: float) -> None:
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
def test_a_manifest_that_names_no_model_is_told(package: Path, content: str) -> None:
    (package / "Manifest.json").write_text(content)
    refused(package, "Manifest.json names no model in it")


@pytest.mark.parametrize("path", ["missing.mlmodel", "x" * 5000, "", "com.apple.CoreML"])
def test_a_model_that_is_not_there_is_told(package: Path, path: str) -> None:
    (package / "Manifest.json").write_text(entry(path))
    refused(package.parent / package.name, "incomplete|cannot be read")


def test_a_circle_of_links_is_told(package: Path) -> None:
    (package / SPEC).unlink()
    (package / SPEC).symlink_to(SPEC.name)
    refused(package, "damaged|incomplete|cannot be read")


def test_another_kind_of_model_is_told(package: Path) -> None:
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
        "null byte",
    ),
    "a weight beyond the file": (
        lambda program: setattr(conv_weight(program).blobFileValue, "offset", 2**40),
        "before a record at 1099511627776",
    ),
    "a weight that begins elsewhere": (
        lambda program: setattr(conv_weight(program).blobFileValue, "offset", 65),
        "no record of weights",
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
        "nothing is given for 'weight'",
    ),
    "a value that nothing gives": (
        lambda program: setattr(program.operation("relu").inputs["x"].arguments[0], "name", "gone"),
        "'gone' before anything gives it",
    ),
    "a value before it is given": (
        lambda program: setattr(program.operation("conv").inputs["x"].arguments[0], "name", "probabilities"),
        "'probabilities' before anything gives it",
    ),
    "a value that is given twice": (
        lambda program: program.block.operations.add().CopyFrom(program.operation("relu")),
        "is given twice",
    ),
    "an output that nothing gives": (
        lambda program: program.block.outputs.append("gone"),
        "'gone' before anything gives it",
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
def test_a_program_that_contradicts_itself_is_told(packages: dict[str, Path], tmp_path: Path, name: str) -> None:
    change, message = CHANGES[name]
    refused(changed(packages["fp16"], tmp_path / "changed.mlpackage", change), message)
