"""Reading of ONNX files: their content, and one message for any damage."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from evim_deploy import formats
from evim_deploy.common.errors import BadInput
from evim_deploy.formats import FileOperation, ModelFile

SEEDS = range(75)
LARGE = (6, 4, 3, 3)  # more elements than are kept by value


def model(
    nodes: list[Any],
    weights: dict[str, Any] | None = None,
    image: tuple[int | str, ...] = (1, 4, 8, 8),
    output: tuple[int | str, ...] | None = None,
) -> Any:
    """A graph from ``x`` to ``y`` without intermediate shapes, as torch.onnx writes it."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="pytorch", ir_version=9)


def convolution() -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], "conv", pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Reshape", ["r", "shape"], ["y"]),
    ]
    weights = {"w": np.ones(LARGE, np.float32), "b": np.ones(6, np.float32), "shape": np.array([0, 6, -1])}
    return model(nodes, weights)


def read(path: Path, made: Any) -> ModelFile:
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return formats.read(path, infer_shapes=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def operation(result: ModelFile, type_: str) -> FileOperation:
    (only,) = [each for function in result.functions for each in function.operations if each.type == type_]
    return only


def test_an_operation_is_read_with_its_values_and_attributes(path: Path) -> None:
    result = read(path, convolution())
    conv = operation(result, "Conv")
    assert (result.format, result.kind, result.producer) == ("onnx", "ONNX opset 18", "pytorch")
    assert result.operations == {"Conv": 1, "Relu": 1, "Reshape": 1}
    assert [(value.name, value.shape) for value in result.inputs] == [("x", (1, 4, 8, 8))]
    assert conv.parameters == {"pads": (1, 1, 1, 1), "auto_pad": "NOTSET"}
    assert [value.stored_bytes for value in conv.inputs] == [0, 6 * 4 * 3 * 3 * 4, 6 * 4]
    assert [value.elements for value in conv.inputs] == [(), (), (1.0,) * 6]
    assert operation(result, "Reshape").inputs[1].elements == (0, 6, -1)


def test_shapes_between_are_inferred(path: Path) -> None:
    result = read(path, convolution())
    assert operation(result, "Conv").outputs[0].shape == (1, 6, 8, 8)
    assert operation(result, "Reshape").outputs[0].shape == (1, 6, 64)


def test_shapes_between_are_unknown_unless_they_are_asked_for(path: Path) -> None:
    path.write_bytes(convolution().SerializeToString())
    assert operation(formats.read(path), "Conv").outputs[0].shape is None


def test_open_axes_keep_their_names(path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    result = read(path, model([relu], image=("batch", 3, "height", 8), output=("batch", 3, "height", 8)))
    assert result.inputs[0].shape == ("batch", 3, "height", 8)
    assert result.outputs[0].shape == ("batch", 3, "height", 8)


def test_metadata_and_description_are_read(path: Path) -> None:
    made = convolution()
    helper.set_model_props(made, {"author": "grüße"})
    made.doc_string = "a test"
    result = read(path, made)
    assert (result.metadata, result.description) == ({"author": "grüße"}, "a test")


def test_weights_among_the_inputs_are_no_inputs(path: Path) -> None:
    """Initializers listed as inputs, as in files from before 2018."""
    made = convolution()
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, LARGE))
    assert [value.name for value in read(path, made).inputs] == ["x"]


def test_a_constant_inside_a_node_has_a_size(path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(LARGE, np.float32)))
    result = read(path, model([constant, helper.make_node("Conv", ["x", "c"], ["y"])]))
    (stored,) = operation(result, "Constant").inputs
    assert (stored.is_constant, stored.stored_bytes) == (True, 6 * 4 * 3 * 3 * 4)


def test_graphs_of_control_flow_are_functions(path: Path) -> None:
    def branch(type_: str) -> Any:
        result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(type_, ["x"], ["z"])], type_, [], [result])

    node = helper.make_node("If", ["c"], ["y"], "choose", then_branch=branch("Relu"), else_branch=branch("Neg"))
    actual = read(path, model([node], {"c": np.array(True)}))
    main, *branches = (function.name for function in actual.functions)
    assert main == "main"
    assert sorted(branches) == ["main/choose.else_branch", "main/choose.then_branch"]
    assert actual.operations == {"If": 1, "Relu": 1, "Neg": 1}
    assert operation(actual, "Neg").inputs[0].shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("data_type", "values", "stored"),
    [
        (TensorProto.FLOAT16, np.ones(100, np.float16), 200),
        (TensorProto.INT8, np.ones(100, np.int8), 100),
        (TensorProto.BOOL, np.ones(100, np.bool_), 100),
        (TensorProto.DOUBLE, np.ones(100), 800),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_stored_bytes_are_those_of_the_element_type(
    path: Path, data_type: int, values: Any, stored: int, raw: bool
) -> None:
    made = model([helper.make_node("Identity", ["w"], ["y"])])
    content = values.tobytes() if raw else values.tolist()
    made.graph.initializer.append(helper.make_tensor("w", data_type, [100], content, raw))
    assert operation(read(path, made), "Identity").inputs[0].stored_bytes == stored


def test_two_elements_of_four_bits_share_a_byte(path: Path) -> None:
    made = model([helper.make_node("Identity", ["w"], ["y"])])
    made.graph.initializer.append(helper.make_tensor("w", TensorProto.INT4, [101], b"\0" * 51, True))
    (value,) = operation(read(path, made), "Identity").inputs
    assert (value.dtype, value.stored_bytes) == ("int4", 51)


def test_every_model_of_onnx_own_test_suite_is_read(path: Path) -> None:
    """Over a thousand models of other operators, element types or attributes: some in files, most in code.

    onnx before 1.23 has those of single nodes in files as well.
    """
    in_files = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").rglob("model.onnx"))
    assert len(in_files) > 100
    for each in in_files:
        nodes = onnx.load(each, load_external_data=False).graph.node
        assert formats.read(each).functions[0].operations or not nodes, each.parent.name
    with np.errstate(all="ignore"):  # infinities are among the values that they are tested with
        in_code = collect_testcases(None)
    assert len(in_code) > 1000
    for case in in_code:
        path.write_bytes(case.model.SerializeToString())
        assert formats.read(path).functions[0].operations or not case.model.graph.node, case.name


# --- weights in another file


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A model whose kernel is in weights.bin."""
    path = tmp_path / "model.onnx"
    onnx.save_model(convolution(), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    assert (tmp_path / "weights.bin").stat().st_size == 6 * 4 * 3 * 3 * 4
    return path


def external(made: Any) -> Any:
    (tensor,) = [each for each in made.graph.initializer if each.name == "w"]
    return tensor


def test_weights_in_another_file_are_measured(outside: Path) -> None:
    kernel = operation(formats.read(outside), "Conv").inputs[1]
    assert (kernel.is_constant, kernel.stored_bytes) == (True, 6 * 4 * 3 * 3 * 4)


def test_a_missing_file_of_weights_is_named(outside: Path) -> None:
    (outside.parent / "weights.bin").unlink()
    with pytest.raises(BadInput, match=r"incomplete: its file of weights weights\.bin is missing"):
        formats.read(outside)


def test_a_file_of_weights_that_is_too_short_is_refused(outside: Path) -> None:
    weights = outside.parent / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"weights\.bin ends at byte 863, before the weights of w"):
        formats.read(outside)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "", "weights\0.bin"])
def test_weights_elsewhere_are_refused(outside: Path, location: str) -> None:
    made = onnx.load(outside, load_external_data=False)
    external(made).external_data[0].value = location
    with pytest.raises(BadInput, match="not beside it"):
        read(outside, made)


def test_a_file_of_weights_with_a_name_that_no_file_has_is_missing(outside: Path) -> None:
    made = onnx.load(outside, load_external_data=False)
    external(made).external_data[0].value = "a" * 5000
    with pytest.raises(BadInput, match=r"its file of weights a+ is missing"):
        read(outside, made)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-4"), ("offset", "x"), ("length", "1"), ("length", str(1 << 70))]
)
def test_weights_at_an_impossible_place_are_refused(outside: Path, key: str, value: str) -> None:
    made = onnx.load(outside, load_external_data=False)
    for entry in external(made).external_data:
        if entry.key == key:
            entry.value = value
    with pytest.raises(BadInput, match="is damaged"):
        read(outside, made)


# --- damage


def _weights(made: Any) -> Any:
    return made.graph.initializer[0]


def _shape_of_w(*dims: int) -> Callable[[Any], None]:
    def edit(made: Any) -> None:
        _weights(made).dims[:] = dims

    return edit


def _type_of_w(made: Any) -> None:
    _weights(made).data_type = 99


def _type_of_x(made: Any) -> None:
    made.graph.input[0].type.tensor_type.elem_type = 99


def _axis_of_x(made: Any) -> None:
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5


def _list_of_w(made: Any) -> None:
    _weights(made).ClearField("raw_data")
    _weights(made).float_data[:] = [1.0] * 7


def test_an_axis_of_minus_one_is_open(path: Path) -> None:
    made = convolution()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    (image,) = read(path, made).inputs
    assert image.shape is not None
    assert image.shape[0] == "?"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_shape_of_w(6, 4, 3, 4), "864 bytes, not 1152"),
        (_shape_of_w(6, -4, 3, 3), "shape of (6, -4, 3, 3)"),
        (_shape_of_w(1 << 62, 4, 3, 3), "864 bytes, not"),
        (_axis_of_x, "length -5"),
        (_list_of_w, "7 elements, not 216"),
    ],
)
def test_what_cannot_be_is_refused(path: Path, edit: Callable[[Any], None], message: str) -> None:
    made = convolution()
    edit(made)
    with pytest.raises(BadInput, match="is damaged") as error:
        read(path, made)
    assert message in error.value.cause


@pytest.mark.parametrize("edit", [_type_of_w, _type_of_x])
def test_a_type_that_is_not_known_is_not_called_damage(path: Path, edit: Callable[[Any], None]) -> None:
    made = convolution()
    edit(made)
    with pytest.raises(BadInput, match=r"unsupported type or version: .* has element type 99"):
        read(path, made)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"\x08\x09", "not an ONNX model"),
        (b"\xff" * 64, "cannot be parsed"),
        (b"PK\x03\x04" + b"\0" * 64, "ONNX model"),
    ],
)
def test_what_is_no_onnx_file_is_refused(path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(path, content)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    intact = convolution().SerializeToString()
    with pytest.raises(BadInput):
        read(path, intact[: int(share * len(intact))])


def test_shapes_that_cannot_be_inferred_are_unknown(path: Path) -> None:
    """The outputs of a custom operation are unknown."""
    own = helper.make_node("Mystery", ["x"], ["h"], domain="com.example")
    result = read(path, model([own, helper.make_node("Relu", ["h"], ["y"])]))
    assert operation(result, "Mystery").inputs[0].shape == (1, 4, 8, 8)
    assert operation(result, "Mystery").outputs[0].shape is None
    assert operation(result, "Relu").outputs[0].shape is None


def test_an_inference_that_dies_leaves_shapes_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can crash its native code; this process survives."""
    import evim_deploy.formats.onnx as reader

    monkeypatch.setattr(reader, "_INFER", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert operation(read(path, convolution()), "Conv").outputs[0].shape is None


def test_an_inference_that_hangs_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evim_deploy.formats.onnx as reader

    monkeypatch.setattr(reader, "_INFER", "import time\ntime.sleep(60)")
    monkeypatch.setattr(reader, "_TIMEOUT", 0.5)
    assert operation(read(path, convolution()), "Conv").outputs[0].shape is None


def test_no_corruption_goes_further_than_one_message(path: Path) -> None:
    """Seeded damage of bits, words, runs and truncation raises only BadInput, in many cases."""
    intact = convolution().SerializeToString()
    refused = 0
    for seed in SEEDS:
        draw = random.Random(seed)
        at = draw.randrange(len(intact))
        wrong = draw.choice(
            [bytes([intact[at] ^ (1 << draw.randrange(8))]), b"\xff" * 4, b"\0" * 4, draw.randbytes(16)]
        )
        content = intact[:at] if draw.random() < 0.2 else intact[:at] + wrong + intact[at + len(wrong) :]
        started = time.process_time()
        try:
            read(path, content)
        except BadInput:
            refused += 1
        assert time.process_time() - started < 10, seed
    assert refused > len(SEEDS) // 8
