"""Reading of TFLite files: their content, and one message for any damage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from model_files import Computed, ones, options, pack, unpack, write_operation, write_tflite

from evim_deploy import formats
from evim_deploy.common.errors import BadInput

IMAGE = Computed((1, 8, 8, 4))
SEEDS = range(75)


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """One convolution with a kernel of 6x3x3x4 and a bias, float32."""
    inputs = [IMAGE, ones(6, 3, 3, 4), ones(6)]
    return write_operation(
        tmp_path / "convolution.tflite",
        "CONV_2D",
        inputs,
        [Computed((1, 8, 8, 6))],
        options("Conv2D", strideW=1, strideH=1, fusedActivationFunction=schema.ActivationFunctionType.RELU6),
    )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of about forty operations of several types."""
    tensors: list[Any] = [IMAGE, ones(4, 3, 3, 4), ones(4), np.array([0, 3, 1, 2], np.int32)]
    nodes = []
    for _ in range(10):
        last = len(tensors) - 1 if nodes else 0
        tensors += [IMAGE, IMAGE, Computed((1, 4, 8, 8)), IMAGE]
        nodes += [
            ("CONV_2D", [last, 1, 2], [last + 1 if nodes else 4], options("Conv2D", strideW=1, strideH=1)),
            ("ADD", [len(tensors) - 4, 0], [len(tensors) - 3], options("Add")),
            ("TRANSPOSE", [len(tensors) - 3, 3], [len(tensors) - 2], None),
            ("RESHAPE", [len(tensors) - 2], [len(tensors) - 1], options("Reshape", newShape=np.array([1, 8, 8, 4]))),
        ]
    path = tmp_path_factory.mktemp("network") / "network.tflite"
    return write_tflite(path, tensors, nodes, [0], [len(tensors) - 1])


def change(path: Path, edit: Callable[[Any], None]) -> Path:
    """The same file with its model edited."""
    model = unpack(path)
    edit(model)
    return pack(model, path)


def test_an_operation_is_read_with_its_values_and_options(convolution: Path) -> None:
    result = formats.read(convolution)
    (function,) = result.functions
    (operation,) = function.operations
    assert (result.format, result.description) == ("tflite", "written by a test")
    assert result.operations == {"CONV_2D": 1}
    assert [value.shape for value in result.inputs] == [(1, 8, 8, 4)]
    assert [value.shape for value in result.outputs] == [(1, 8, 8, 6)]
    image, kernel, bias = operation.inputs
    assert not image.is_constant
    assert kernel.is_constant
    assert (kernel.stored_bytes, bias.stored_bytes, image.stored_bytes) == (6 * 3 * 3 * 4 * 4, 6 * 4, 0)
    assert (bias.elements, kernel.elements) == ((1.0,) * 6, ())
    assert operation.parameters["fused_activation_function"] == "RELU6"
    assert operation.parameters["padding"] == "SAME"
    assert operation.parameters["stride_w"] == 1


def test_an_open_axis_is_a_word(tmp_path: Path) -> None:
    batch = Computed((1, 4), signature=(-1, 4))
    result = formats.read(write_operation(tmp_path / "x.tflite", "ABS", [batch], [batch]))
    assert result.inputs[0].shape == ("?", 4)


def test_an_optional_input_that_is_not_given_is_left_out(tmp_path: Path) -> None:
    path = write_operation(
        tmp_path / "x.tflite", "FULLY_CONNECTED", [Computed((1, 4)), ones(6, 4), None], [Computed((1, 6))]
    )
    (operation,) = formats.read(path).functions[0].operations
    assert [value.shape for value in operation.inputs] == [(1, 4), (6, 4)]


def test_inputs_and_outputs_have_the_signatures_names(convolution: Path) -> None:
    def sign(model: Any) -> None:
        signature = schema.SignatureDefT()
        signature.signatureKey = b"serving_default"
        for side, index, name in (("inputs", 0, b"photo"), ("outputs", 3, b"answer")):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            setattr(signature, side, [entry])
        model.signatureDefs = [signature]

    result = formats.read(change(convolution, sign))
    assert [(value.name, value.shape) for value in result.inputs] == [("photo", (1, 8, 8, 4))]
    assert [(value.name, value.shape) for value in result.outputs] == [("answer", (1, 8, 8, 6))]


def test_metadata_that_is_text_is_read_and_other_is_measured(convolution: Path) -> None:
    def describe(model: Any) -> None:
        model.metadata = []
        for name, data in ((b"note", "grüße\0\0".encode()), (b"packed", b"\xff\x00\x01")):
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, len(model.buffers)
            model.metadata.append(entry)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(data, np.uint8)

    assert formats.read(change(convolution, describe)).metadata == {"note": "grüße", "packed": "3 bytes"}


def test_a_file_of_before_2020_names_its_operations_in_the_older_field(convolution: Path) -> None:
    def age(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 0

    assert formats.read(change(convolution, age)).operations == {"CONV_2D": 1}


def test_an_operation_that_came_after_us_has_its_number_as_type(convolution: Path) -> None:
    def renew(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 999

    assert formats.read(change(convolution, renew)).operations == {"BUILTIN_999": 1}


def test_every_subgraph_is_a_function(convolution: Path) -> None:
    def branch(model: Any) -> None:
        model.subgraphs.append(model.subgraphs[0])

    result = formats.read(change(convolution, branch))
    assert [function.name for function in result.functions] == ["main", "subgraph 1"]
    assert result.operations == {"CONV_2D": 2}


def _set(what: str, value: Any) -> Callable[[Any], None]:
    """An edit that sets one field of a model, named by its path."""

    def edit(model: Any) -> None:
        *path, last = what.split(".")
        for step in path:
            model = model[int(step)] if step.isdigit() else getattr(model, step)
        setattr(model, last, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set("subgraphs", []), "no subgraph"),
        (_set("subgraphs.0.operators.0.opcodeIndex", 7), "operation 7 of 1"),
        (_set("subgraphs.0.operators.0.inputs", np.array([0, 99, 2], np.int32)), "tensor 99 of 4"),
        (_set("subgraphs.0.operators.0.inputs", np.array([0, -7, 2], np.int32)), "tensor -7 of 4"),
        (_set("subgraphs.0.operators.0.outputs", np.array([4], np.int32)), "tensor 4 of 4"),
        (_set("subgraphs.0.inputs", np.array([50], np.int32)), "tensor 50 of 4"),
        (_set("subgraphs.0.tensors.1.buffer", 77), "buffer 77 of 3"),
        (_set("subgraphs.0.tensors.1.shape", np.array([6, 3, 3, 5], np.int32)), "864 bytes, not 1080"),
        (_set("subgraphs.0.tensors.0.shape", np.array([1, -8, 8, 4], np.int32)), "(1, -8, 8, 4)"),
        (_set("subgraphs.0.tensors.0.shape", np.ones(40, np.int32)), "shape"),
        (_set("subgraphs.0.tensors.0.shapeSignature", np.array([1], np.int32)), "two shapes"),
        (_set("subgraphs.0.tensors.0.name", b"x" * 100_000), "name of 100000 bytes"),
        (_set("buffers.1.offset", 1 << 40), "before a buffer"),
        (_set("subgraphs.0.tensors.0.externalBuffer", 9), "external weights without a description"),
    ],
)
def test_what_points_nowhere_is_refused(convolution: Path, edit: Callable[[Any], None], message: str) -> None:
    with pytest.raises(BadInput, match="is damaged") as error:
        formats.read(change(convolution, edit))
    assert message in error.value.cause


@pytest.mark.parametrize(
    ("edit", "message"),
    [(_set("version", 4), "version 4, not 3"), (_set("subgraphs.0.tensors.1.type", 99), "of type 99")],
)
def test_what_may_be_newer_is_not_called_damage(convolution: Path, edit: Callable[[Any], None], message: str) -> None:
    with pytest.raises(BadInput, match=f"unsupported type or version: .*{message}"):
        formats.read(change(convolution, edit))


def test_a_signature_that_names_no_tensor_is_refused(convolution: Path) -> None:
    def sign(model: Any) -> None:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = b"photo", 1 << 20
        signature = schema.SignatureDefT()
        signature.inputs, signature.outputs = [entry], [entry]
        model.signatureDefs = [signature]

    with pytest.raises(BadInput, match="signature names tensor"):
        formats.read(change(convolution, sign))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a TFLite file"), (b"\0" * 64, "not a TFLite file"), (b"\xff" * 4 + b"TFL3" + b"\xff" * 64, "damaged")],
)
def test_what_is_no_tflite_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        formats.read(path)


def test_a_list_that_claims_to_be_endless_is_refused_at_once(network: Path, tmp_path: Path) -> None:
    """Every length in the file in turn is set to the maximum."""
    intact = network.read_bytes()
    path = tmp_path / "x.tflite"
    refused = 0
    started = time.process_time()
    for offset in range(0, 400, 4):
        path.write_bytes(intact[:offset] + b"\xff\xff\xff\x7f" + intact[offset + 4 :])
        try:
            formats.read(path)
        except BadInput:
            refused += 1
    assert refused > 20
    assert time.process_time() - started < 20


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_file_is_refused(network: Path, tmp_path: Path, share: float) -> None:
    """The file's table of tensors is at its end, so every truncation is detected."""
    path = tmp_path / "x.tflite"
    path.write_bytes(network.read_bytes()[: int(share * network.stat().st_size)])
    with pytest.raises(BadInput):
        formats.read(path)


def test_no_corruption_goes_further_than_one_message(network: Path, tmp_path: Path) -> None:
    """Seeded damage of bits, words, runs and truncation raises only BadInput, in many cases."""
    intact = network.read_bytes()
    path = tmp_path / "x.tflite"
    refused = 0
    for seed in SEEDS:
        path.write_bytes(corrupted(intact, random.Random(seed)))
        started = time.process_time()
        try:
            formats.read(path)
        except BadInput:
            refused += 1
        assert time.process_time() - started < 5, seed
    assert refused > len(SEEDS) // 4


def corrupted(content: bytes, draw: random.Random) -> bytes:
    """A file with one fault."""
    at = draw.randrange(len(content))
    if draw.random() < 0.2:
        return content[:at]
    word = draw.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80", draw.randbytes(4)])
    wrong = draw.choice([bytes([content[at] ^ (1 << draw.randrange(8))]), word, draw.randbytes(32)])
    return content[:at] + wrong + content[at + len(wrong) :]
