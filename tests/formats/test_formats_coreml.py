"""Reading of Core ML packages: their content is as it was written."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mil_packages import LABELS, SIDE, WEIGHTS, classifier

from evim_deploy.formats.blob import element_bits, read_blob, unpack
from evim_deploy.formats.coreml import read_package
from evim_deploy.formats.protobuf import core_ml

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
    result = read_package(packages[precision])
    function = result.functions[result.default_function]
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
    """A changed byte of the file changes the constant."""

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
    """Importing it takes six seconds if TensorFlow is installed."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from evim_deploy.formats.coreml import read_package;"
        f"read_package(Path({str(packages['fp16'])!r})); sys.exit('coremltools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


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
    result = read_blob((tmp_path / "weight.bin").read_bytes(), offset, dtype, count)
    assert np.array_equal(result, values)


@pytest.mark.parametrize("content", [bytes(2), bytes(4)])
def test_elements_take_the_bytes_that_they_take(content: bytes) -> None:
    """Five elements of four bits are three bytes."""
    assert unpack(bytes(3), "uint4", 5).tolist() == [0] * 5
    with pytest.raises(ValueError, match="bytes, not 5 elements of 4 bits"):
        unpack(content, "uint4", 5)


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
        (bytes(128), 0, "float16", 4, "byte 0 has no weight record"),
        (RECORD, 0, "float16", 4, "end at byte 64, before those of byte 64 to 72"),
        (RECORD + bytes(8), 0, "float32", 2, "are float16, not float32"),
        (RECORD + bytes(8), 0, "float16", 2**40, "have 8 bytes, not 1099511627776 elements"),
        (RECORD + bytes(8), 0, "float16", 3, "have 8 bytes, not 3 elements of 16 bits"),
        (RECORD[:4] + b"\x63\0\0\0" + RECORD[8:] + bytes(8), 0, "float16", 4, "are of type 99"),
    ],
)
def test_a_damaged_record_is_reported(content: bytes, offset: int, dtype: str, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_blob(content, offset, dtype, count)
    assert read_blob(RECORD + bytes(8), 0, "float16", 4).tolist() == [0] * 4
