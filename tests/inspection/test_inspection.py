"""Inspection in all formats: classes, data movements, weights, and backends."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import random_tiny
from onnx import TensorProto, helper, numpy_helper
from simulated import facts_of

import exporters
from evim_deploy import formats
from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.metadata import METADATA_KEY
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput, NotInstalled
from evim_deploy.formats import FileFunction, FileOperation, Value
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.inspection import BACKENDS, Inspection, inspect
from evim_deploy.inspection.classes import OpClass, class_of
from evim_deploy.inspection.layers import at_run_time, fixed_values, layers
from evim_deploy.inspection.movement import movements
from evim_deploy.inspection.rules import Severity
from evim_deploy.networks.efficientvim.lowering import lower


def computed(name: str, *shape: int) -> Value:
    return Value(name=name, dtype="float32", shape=shape)


def stored(name: str, count: int, *elements: int) -> Value:
    return Value(name=name, dtype="int64", shape=(count,), is_constant=True, stored_bytes=4 * count, elements=elements)


# --- classes


@pytest.mark.parametrize(
    ("class_", "coreml", "onnx_", "tflite"),
    [
        ("convolution", "conv", "Conv", "DEPTHWISE_CONV_2D"),
        ("matrix product", "matmul", "Gemm", "FULLY_CONNECTED"),
        ("normalisation", "layer_norm", "BatchNormalization", "L2_NORMALIZATION"),
        ("activation", "silu", "Softmax", "LOGISTIC"),
        ("elementwise", "rsqrt", "Mul", "SQUARED_DIFFERENCE"),
        ("reduction", "reduce_mean", "ReduceSum", "MEAN"),
        ("pooling", "max_pool", "GlobalAveragePool", "RESIZE_BILINEAR"),
        ("data movement", "transpose", "Transpose", "TRANSPOSE"),
        ("quantisation", "constexpr_lut_to_dense", "QuantizeLinear", "DEQUANTIZE"),
        ("control flow", "while_loop", "Loop", "WHILE"),
        (OpClass.OTHER, "classify", "NonMaxSuppression", "CUSTOM"),
    ],
)
def test_operations_of_the_three_formats_have_one_set_of_classes(
    class_: str, coreml: str, onnx_: str, tflite: str
) -> None:
    assert [class_of("coreml", coreml), class_of("onnx", onnx_), class_of("tflite", tflite)] == [class_] * 3


def test_no_operation_has_two_classes() -> None:
    """A type in two lines of a table would be counted in the later class."""
    from evim_deploy.inspection import classes

    for table in (classes._COREML, classes._NEURAL_NETWORK, classes._ONNX, classes._TFLITE):
        named = [type_ for types in table.values() for type_ in types.split()]
        assert len(named) == len(set(named))
        assert set(table) <= set(OpClass)


def test_tables_name_operations_that_exist() -> None:
    from ai_edge_litert import schema_py_generated as schema

    from evim_deploy.inspection import classes

    known = {each.name for each in onnx.defs.get_all_schemas()} | {"Mish", "Attention", "RMSNormalization", "Swish"}
    assert {type_ for types in classes._ONNX.values() for type_ in types.split()} <= known
    builtin = set(vars(schema.BuiltinOperator))
    assert {type_ for types in classes._TFLITE.values() for type_ in types.split()} <= builtin


# --- what moves data


@pytest.mark.parametrize(
    ("shape", "permutation", "is_view"),
    [
        ((1, 8, 8, 4), (0, 3, 1, 2), False),
        ((1, 1, 64, 4), (0, 2, 1, 3), True),  # only an axis of length 1 moves
        ((1, 4, 1, 1), (0, 2, 3, 1), True),
        ((2, 1, 64), (1, -1, 0), False),
        ((2, 64), (0, 1, 2), False),  # what makes no sense is no view
        ((2, 64), (), False),
    ],
)
def test_a_transpose_of_unit_axes_alone_is_a_view(
    shape: tuple[int, ...], permutation: tuple[int, ...], is_view: bool
) -> None:
    """The permutation may be an attribute, as in ONNX, or a constant, as in TFLite."""
    value = computed("x", *shape)
    attribute = FileOperation(
        type="Transpose", name="t", inputs=(value,), outputs=(value,), parameters={"perm": permutation}
    )
    constant = FileOperation(
        type="TRANSPOSE", name="t", inputs=(value, stored("p", len(permutation), *permutation)), outputs=(value,)
    )
    assert [move.is_view for move in movements("onnx", (attribute,))] == [is_view]
    assert [move.is_view for move in movements("tflite", (constant,))] == [is_view]


def test_only_data_movement_is_listed_in_its_order() -> None:
    value = computed("x", 1, 4)
    operations = tuple(
        FileOperation(type=type_, name=type_, inputs=(value,), outputs=(value,))
        for type_ in ("Split", "Relu", "Reshape", "Cast")
    )
    result = [(move.type, move.is_view) for move in movements("onnx", operations)]
    assert result == [("Split", False), ("Reshape", True), ("Cast", False)]


# --- weights


def function(*operations: FileOperation) -> FileFunction:
    return FileFunction("main", (computed("x", 1),), (), operations)


def test_weights_belong_to_the_first_operation_that_computes_with_them() -> None:
    """Weights pass through a cast and a dequantisation; shared weights are counted once."""
    kernel, scale, halved, ready = stored("k", 100), stored("s", 1), computed("halved", 100), computed("ready", 100)
    made = function(
        FileOperation(type="Cast", name="cast", inputs=(kernel,), outputs=(halved,)),
        FileOperation(type="DequantizeLinear", name="dequantise", inputs=(halved, scale), outputs=(ready,)),
        FileOperation(type="Conv", name="first", inputs=(computed("x", 1), ready), outputs=(computed("y", 1),)),
        FileOperation(type="Conv", name="second", inputs=(computed("y", 1), ready, scale), outputs=(computed("z", 1),)),
        FileOperation(
            type="Gemm", name="third", inputs=(computed("z", 1), stored("g", 200)), outputs=(computed("w", 1),)
        ),
    )
    assert [(layer.operation, layer.bytes) for layer in layers(made)] == [("third", 800), ("first", 404)]
    assert fixed_values(made) == {"halved", "ready"}
    assert [operation.name for operation in at_run_time(made)] == ["first", "second", "third"]
    assert at_run_time(made)[0].inputs[1].is_constant


def test_weights_that_an_operation_takes_twice_are_counted_once() -> None:
    kernel = stored("k", 10)
    made = function(
        FileOperation(type="Sum", name="sum", inputs=(computed("x", 1), kernel, kernel), outputs=(computed("y", 1),))
    )
    assert [layer.bytes for layer in layers(made)] == [40]


def test_weights_that_nothing_computes_with_are_still_counted() -> None:
    made = function(
        FileOperation(type="Identity", name="same", inputs=(stored("k", 10),), outputs=(computed("y", 10),))
    )
    assert [(layer.operation, layer.type, layer.bytes) for layer in layers(made)] == [("y", "constant", 40)]


# --- ONNX files


def write(path: Path, nodes: list[Any], image: tuple[int | str, ...], weights: dict[str, Any] | None = None) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def kept_off(inspection: Inspection) -> list[tuple[str, str, str]]:
    (target,) = inspection.functions[0].targets
    return [(finding.rule, finding.operation, finding.detail) for finding in target.findings]


def flattened(path: Path, side: int) -> Inspection:
    """A 1x1 convolution over the tokens of an image at stride 4."""
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["h"], "stem", strides=[4, 4]),
        helper.make_node("Reshape", ["h", "shape"], ["tokens"], "flatten"),
        helper.make_node("Conv", ["tokens", "w"], ["y"], "mix"),
    ]
    weights = {
        "stem": np.ones((2, 3, 4, 4), np.float32),
        "shape": np.array([0, 2, -1]),
        "w": np.ones((2, 2, 1), np.float32),
    }
    return inspect(write(path, nodes, (1, 3, side, side), weights))


def test_an_axis_that_the_core_ml_provider_refuses_is_reported(tmp_path: Path) -> None:
    """128 * 128 tokens are 16384, the limit; a larger image exceeds it."""
    assert kept_off(flattened(tmp_path / "fits.onnx", 512)) == []
    detail = "65536 in 1x2x65536; an input of up to 512x512 keeps it at 16384"
    assert kept_off(flattened(tmp_path / "large.onnx", 1024)) == [("axis_length", "mix", detail)]


def test_open_and_unknown_shapes_are_reported(tmp_path: Path) -> None:
    open_ = write(tmp_path / "open.onnx", [helper.make_node("Relu", ["x"], ["y"], "relu")], ("batch", 4))
    assert kept_off(inspect(open_)) == [("dynamic_shape", "x", "batchx4")]
    own = [
        helper.make_node("Own", ["x"], ["h"], "own", domain="com.example"),
        helper.make_node("Relu", ["h"], ["y"], "relu"),
    ]
    assert kept_off(inspect(write(tmp_path / "own.onnx", own, (1, 4)))) == [("no_shape", "relu", "h has no shape")]


def test_a_torch_like_graph_is_reported(tmp_path: Path) -> None:
    """Attention as torch.onnx exports it: heads split off by Reshape and Transpose."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["q"], "/proj/MatMul"),
        helper.make_node("Reshape", ["q", "heads"], ["r"], "/Reshape"),
        helper.make_node("Transpose", ["r"], ["t"], "/Transpose", perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["t"], ["y"], "/Softmax"),
    ]
    weights = {"w": np.ones((64, 64), np.float32), "heads": np.array([1, 16, 4, 16])}
    (result,) = inspect(write(tmp_path / "x.onnx", nodes, (1, 16, 64), weights)).functions
    assert [(move.type, move.is_view, move.outputs) for move in result.movements] == [
        ("Reshape", True, ((1, 16, 4, 16),)),
        ("Transpose", False, ((1, 4, 16, 16),)),
    ]
    assert [(layer.operation, layer.bytes) for layer in result.layers] == [
        ("/proj/MatMul", 4 * 64 * 64),
        ("/Reshape", 32),
    ]
    assert result.weight_bytes == 4 * 64 * 64 + 32


# --- our own files, and others


@pytest.fixture(scope="module")
def graph() -> Graph:
    return reparameterise(lower(random_tiny(0, 5), "classify", "logits", True))[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_our_own_onnx_file_is_reported_whole(graph: Graph, tmp_path: Path, precision: str) -> None:
    path = tmp_path / "tiny.onnx"
    target = Target(
        format="onnx",
        precision=precision,
        height=64,
        width=64,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=tuple("abcde"),
    )
    exporter = exporters.load(exporters.FORMATS["onnx"])
    info = facts_of(target, exporter.build(graph, target, path))
    exporter.annotate(path, {METADATA_KEY: json.dumps({"weights": {"trained": False}})}, info)
    inspection = inspect(path)
    (result,) = inspection.functions
    model = onnx.load(path)
    assert sum(sum(types.values()) for types in result.classes.values()) == len(model.graph.node)
    assert result.weight_bytes == sum(len(each.raw_data) for each in model.graph.initializer)
    assert OpClass.OTHER not in result.classes
    assert not any(move.type == "Transpose" for move in result.movements)
    assert all(value.shape is not None for each in inspection.contents.functions[0].operations for value in each.values)
    assert kept_off(inspection) == []
    assert inspection.manifest == {"weights": {"trained": False}}
    assert inspection.other_metadata == {}
    assert inspection.contents.description == describe_artifact(info).description


@pytest.mark.parametrize("text", ["{", "[]", "null", '"text"'])
def test_a_manifest_that_is_none_of_ours_is_none(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "x.onnx", [helper.make_node("Relu", ["x"], ["y"])], (1, 4))
    model = onnx.load(path)
    helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)
    assert inspect(path).manifest is None


def test_every_rule_of_every_target_has_a_reason_and_a_source() -> None:
    ids = set()
    for target in (target for targets in BACKENDS.values() for target in targets):
        for rule in target.rules:
            assert rule.severity in tuple(Severity)
            assert rule.reason.endswith(".")
            assert rule.source.startswith("https://")
            assert (target.id, rule.id) not in ids
            ids.add((target.id, rule.id))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.onnx", "There is no file"),
        ("x.pth", "unknown suffix for a model file"),
        ("folder.tflite", "is not a file"),
    ],
)
def test_what_cannot_be_inspected_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "x.pth").touch()
    with pytest.raises(BadInput, match=message):
        inspect(tmp_path / name)


@pytest.mark.parametrize(("suffix", "extra"), [(".onnx", "onnx"), (".tflite", "tflite"), (".mlpackage", "coreml")])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, extra: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = tmp_path / f"x{suffix}"
    path.touch()
    with pytest.raises(NotInstalled) as error:
        formats.read(path)
    assert error.value.remedy == f'pip install "evim-deploy[{extra}]"'


ODD = (
    Value(name="scalar", dtype="float32", shape=()),
    Value(name="unranked", dtype="unknown", shape=None),
    Value(name="open", dtype="int32", shape=("?", "batch")),
    Value(name="empty", dtype="float16", shape=(0, 0, 0, 0, 0, 0, 0)),
    Value(name="constant", dtype="int8", shape=(1, 2), is_constant=True, stored_bytes=2, elements=(1, -7)),
)


@pytest.mark.parametrize("format_", BACKENDS)
def test_no_rule_stumbles_over_an_operation_that_makes_no_sense(format_: str) -> None:
    """Every type with unusual values, with too few and too many of them, and without outputs."""
    from evim_deploy.inspection import classes
    from evim_deploy.inspection.rules import check

    odd_parameters = {"axis": 99, "pad": (1,), "perm": (5, -9), "beta": "x", "block_size": -1, "epsilon": float("nan")}
    results = tuple(replace(value, name=f"{value.name}'") for value in ODD)  # what none of them takes again
    sides = [(), *((value,) for value in ODD), *((a, b) for a in ODD for b in ODD), ODD]
    for type_ in (*classes._CLASS_OF[format_], "CUSTOM", "unheard of"):
        operations = tuple(
            FileOperation(type=type_, name="name", inputs=inputs, outputs=outputs, parameters=parameters)
            for inputs in sides
            for outputs in ((), results[:1], results[1:2], results)
            for parameters in ({}, odd_parameters)
        )
        made = FileFunction("main", ODD, ODD, operations)
        running = at_run_time(made)
        assert len(running) > 200
        for target in BACKENDS[format_]:
            check(target, running, made)
        movements(format_, running)
        layers(made)
