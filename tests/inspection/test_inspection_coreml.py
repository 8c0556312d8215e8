"""Rules for Core ML models on the Apple Neural Engine.

No engine is here to ask: each rule is held against a value on either side of its limit, and against
packages that Core ML Tools writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813, as in its documentation
from coremltools.converters.mil.mil import types
from coremltools.models.neural_network import NeuralNetworkBuilder
from networks import random_network, random_tiny

import exporters
from evim_deploy import formats
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import VARIANTS
from evim_deploy.common.errors import BadInput
from evim_deploy.formats import FileFunction, FileOperation, Value
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.inspection import Inspection, inspect
from evim_deploy.inspection.neural_engine import NEURAL_ENGINE
from evim_deploy.inspection.rules import Severity, check
from evim_deploy.networks.efficientvim.lowering import lower

Program = Callable[..., Any]


# --- each rule, on either side of its limit


def half(*shape: int | str) -> Value:
    return Value(name="x", dtype="float16", shape=shape)


def single(*shape: int | str) -> Value:
    return Value(name="x", dtype="float32", shape=shape)


def op(type_: str, takes: Sequence[Value], gives: Sequence[Value], **parameters: Any) -> FileOperation:
    return FileOperation(type=type_, name="name", inputs=tuple(takes), outputs=tuple(gives), parameters=parameters)


def same(type_: str, value: Value, **parameters: Any) -> FileOperation:
    return op(type_, [value], [value], **parameters)


KERNEL = Value(name="w", dtype="float16", shape=(8, 4, 3, 16), is_constant=True)
WIDE_KERNEL = Value(name="w", dtype="float16", shape=(8, 4, 3, 17), is_constant=True)
MAP = half(1, 4, 64, 64)

RULES: dict[str, tuple[FileOperation, FileOperation]] = {
    # the operation that each rule blocks or slows, and its neighbour that runs
    "float32": (same("relu", single(1, 64)), same("cast", single(1, 64))),
    "axis_length": (same("relu", half(1, 16385)), same("relu", half(1, 16384))),
    "rank": (same("relu", half(1, 1, 1, 1, 1, 64)), same("relu", half(1, 1, 1, 1, 64))),
    "integer": (
        op("cast", [MAP], [Value(name="y", dtype="int32", shape=(1, 4, 64, 64))]),
        op("quantize", [MAP], [Value(name="y", dtype="int8", shape=(1, 4, 64, 64))]),
    ),
    "operation": (same("reduce_prod", MAP), same("reduce_sum", MAP)),
    "control_flow": (same("while_loop", MAP), same("relu", MAP)),
    "gather": (same("gather", MAP), same("slice_by_index", MAP)),
    "sorting": (same("topk", MAP), same("reduce_max", MAP)),
    "layer": (same("addBroadcastable", MAP), same("add", MAP)),
    "argmax_length": (
        op("reduce_argmax", [half(1, 2049)], [Value(name="y", dtype="uint8", shape=(1, 1))], axis=1),
        op("reduce_argmax", [half(1, 2048)], [Value(name="y", dtype="uint8", shape=(1, 1))], axis=1),
    ),
    "kernel_width": (op("conv", [MAP, WIDE_KERNEL], [MAP]), op("conv", [MAP, KERNEL], [MAP])),
    "pad_axis": (same("pad", MAP, pad=(0, 0, 1, 1, 0, 0, 0, 0)), same("pad", MAP, pad=(0, 0, 0, 0, 1, 1, 1, 1))),
    "later_chips": (same("sin", MAP), same("exp", MAP)),
    "last_axis_one": (same("relu", half(1, 64, 1)), same("relu", half(1, 64, 32))),
    "last_axis_short": (same("relu", half(1, 64, 31)), same("relu", half(1, 64, 32))),
    "epsilon": (same("layer_norm", MAP, epsilon=1e-5), same("layer_norm", MAP, epsilon=1e-4)),
    "softmax_length": (same("softmax", half(4, 20000, 64), axis=1), same("softmax", half(4, 20000, 64), axis=2)),
}
ELSEWHERE = {"softmax_length": {"axis_length"}}
"""Other rules that the neighbour meets too."""


def rules_met(operation: FileOperation, function: FileFunction | None = None) -> set[str]:
    function = function or FileFunction("main", (), (), (operation,))
    return {finding.rule for finding in check(NEURAL_ENGINE, (operation,), function)}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_fires_beyond_its_limit(rule: str) -> None:
    assert rule in rules_met(RULES[rule][0])


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_silent_within_its_limit(rule: str) -> None:
    assert rules_met(RULES[rule][1]) == ELSEWHERE.get(rule, set())


def test_every_rule_of_an_operation_is_tested() -> None:
    assert set(RULES) == {rule.id for rule in NEURAL_ENGINE.rules if not rule.of_inputs}


def test_every_rule_has_a_reason_and_a_source() -> None:
    for rule in NEURAL_ENGINE.rules:
        assert rule.reason.endswith(".")
        assert rule.source.startswith("https://")


def test_tables_name_operations_that_exist() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    from evim_deploy.inspection import classes, neural_engine

    known = set(SSAOpRegistry.core_ops)
    assert {type_ for named in classes._COREML.values() for type_ in named.split()} <= known
    assert set(f"{neural_engine._NO_PATH} {neural_engine._LATER_CHIPS}".split()) <= known


@pytest.mark.parametrize(
    ("shape", "flexible"),
    [
        ((1, 3, 64, 64), False),
        ((1, 3, "64|128", "64|128"), False),
        ((1, 3, "64..128", 64), True),
        (("?", 3, 64, 64), True),
    ],
)
def test_a_range_of_shapes_is_flexible_and_a_list_of_them_is_not(shape: tuple[int | str, ...], flexible: bool) -> None:
    function = FileFunction("main", (half(*shape),), (), ())
    assert [finding.rule for finding in check(NEURAL_ENGINE, (), function)] == ["flexible_shape"] * flexible


@pytest.mark.parametrize(
    ("image", "length", "said"),
    [
        ((1, 3, 4096, 4096), 65536, "an input of up to 2048x2048 keeps it at 16384"),
        ((1, 4096, 4096, 3), 65536, "an input of up to 2048x2048 keeps it at 16384"),
        ((1, 3, 2048, 4096), 32768, "an input of up to 2048x2048 keeps it at 16384"),
        ((1, 3, 256, 256), 65536, "an input of up to 128x128 keeps it at 16384"),
        ((1, 3, 256, 256), 50257, ""),  # a vocabulary has nothing to do with the image
    ],
)
def test_a_long_axis_says_at_which_resolution_it_is_short_enough(
    image: tuple[int, ...], length: int, said: str
) -> None:
    operation = same("relu", half(1, 8, length))
    function = FileFunction("main", (half(*image),), (), (operation,))
    (detail,) = [each.detail for each in check(NEURAL_ENGINE, (operation,), function) if each.rule == "axis_length"]
    assert detail == f"{length} in 1x8x{length}" + (f"; {said}" if said else "")


# --- packages that Core ML Tools writes


def package(path: Path, build: Program, shape: tuple[int, ...], dtype: Any = types.fp16, **convert: Any) -> Inspection:
    """The inspection of a program with one input."""
    target = convert.pop("minimum_deployment_target", ct.target.iOS16)
    program = mb.program(input_specs=[mb.TensorSpec(shape=shape, dtype=dtype)], opset_version=target)(build)
    settings = {"source": "milinternal", "convert_to": "mlprogram", "skip_model_load": True, **convert}
    ct.convert(program, minimum_deployment_target=target, **settings).save(str(path))
    return inspect(path)


def rules(inspection: Inspection, severity: str) -> set[str]:
    target, _ = inspection.functions[0].targets
    return {finding.rule for finding in target.findings if finding.severity == severity}


@pytest.fixture(scope="module")
def weights() -> Any:
    return np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float16)


def test_operations_weights_and_moves_of_a_program(tmp_path: Path, weights: Any) -> None:
    def build(x: Any) -> Any:
        y = mb.conv(x=x, weight=weights, pad_type="same", name="convolution")
        y = mb.transpose(x=mb.relu(x=y), perm=[0, 2, 3, 1], name="turned")
        return mb.reshape(x=y, shape=[1, 64 * 64, 8], name="flat")

    inspection = package(tmp_path / "x.mlpackage", build, (1, 4, 64, 64))
    (function,) = inspection.functions
    assert function.classes == {
        "convolution": {"conv": 1},
        "activation": {"relu": 1},
        "data movement": {"transpose": 1, "reshape": 1},
    }
    assert [(move.operation, move.is_view) for move in function.movements] == [("turned", False), ("flat", True)]
    assert [(layer.operation, layer.bytes) for layer in function.layers] == [("convolution", weights.nbytes)]
    assert inspection.manifest is None
    assert rules(inspection, Severity.BLOCKS) == set()
    assert rules(inspection, Severity.SLOWS) == {"last_axis_short"}


def test_a_network_in_float32_stays_off_the_engine(tmp_path: Path) -> None:
    """A package converted with compute_precision=FLOAT32."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )
    traced = torch.jit.trace(network.eval(), torch.rand(1, 3, 8, 8))
    for precision, kept_off in ((ct.precision.FLOAT32, True), (ct.precision.FLOAT16, False)):
        path = tmp_path / f"{precision.value}.mlpackage"
        image = ct.TensorType("image", (1, 3, 8, 8))
        ct.convert(traced, inputs=[image], compute_precision=precision, skip_model_load=True).save(str(path))
        inspection = inspect(path)
        assert ("float32" in rules(inspection, Severity.BLOCKS)) == kept_off
        target, _ = inspection.functions[0].targets
        assert (target.kept_off > 0) == kept_off
        assert [value.name for value in inspection.contents.inputs] == ["image"]


@pytest.mark.parametrize("flexibility", ["range", "enumerated"])
def test_flexible_inputs_are_reported_as_they_are_declared(tmp_path: Path, flexibility: str) -> None:
    shape = ct.Shape((1, 3, ct.RangeDim(32, 64, 32), 32))
    if flexibility == "enumerated":
        shape = ct.EnumeratedShapes([(1, 3, 32, 32), (1, 3, 64, 32)])
    traced = torch.jit.trace(torch.nn.ReLU(), torch.rand(1, 3, 32, 32))
    path = tmp_path / "x.mlpackage"
    ct.convert(traced, inputs=[ct.TensorType("image", shape)], skip_model_load=True).save(str(path))
    inspection = inspect(path)
    axis = {"range": "32..64", "enumerated": "32|64"}[flexibility]
    assert inspection.contents.inputs[0].shape == (1, 3, axis, 32)
    assert rules(inspection, Severity.BLOCKS) == ({"flexible_shape"} if flexibility == "range" else set())


def test_weights_of_four_bits_take_half_a_byte_and_belong_to_their_convolution(tmp_path: Path, weights: Any) -> None:
    def build(x: Any) -> Any:
        packed = np.zeros(weights.shape, np.int8).astype(types.nptype_from_builtin(types.int4))
        kernel = mb.constexpr_blockwise_shift_scale(data=packed, scale=np.ones((1, 1, 1, 1), np.float16))
        return mb.conv(x=x, weight=kernel, name="convolution")

    inspection = package(tmp_path / "x.mlpackage", build, (1, 4, 64, 64), minimum_deployment_target=ct.target.iOS18)
    (layer,) = inspection.functions[0].layers
    assert layer.operation == "convolution"
    assert weights.size // 2 <= layer.bytes <= weights.size // 2 + 64
    target, _ = inspection.functions[0].targets
    assert target.operations == 1


@pytest.mark.parametrize("suffix", [".mlmodel", ".mlpackage"])
def test_a_neural_network_is_reported_by_its_layers(tmp_path: Path, suffix: str) -> None:
    array = ct.models.datatypes.Array(1, 4, 8, 8)
    builder = NeuralNetworkBuilder([("image", array)], [("answer", array)], disable_rank5_shape_mapping=True)
    kernel = np.ones((3, 3, 4, 4), np.float32)
    builder.add_convolution(
        "convolution", 4, 4, 3, 3, 1, 1, "same", 1, kernel, None, False, input_name="image", output_name="h"
    )
    builder.add_add_broadcastable("sum", ["h", "image"], "answer")
    path = tmp_path / f"network{suffix}"
    ct.models.MLModel(builder.spec, skip_model_load=True).save(str(path))
    inspection = inspect(path)
    (function,) = inspection.functions
    assert function.classes == {"convolution": {"convolution": 1}, "elementwise": {"addBroadcastable": 1}}
    assert [(layer.operation, layer.bytes) for layer in function.layers] == [("convolution", kernel.nbytes)]
    assert rules(inspection, Severity.BLOCKS) == {"layer"}
    assert inspection.contents.kind.startswith("neuralNetwork")


def test_several_functions_are_reported_the_default_one_first(tmp_path: Path, weights: Any) -> None:
    def build(x: Any) -> Any:
        return mb.conv(x=x, weight=weights, name="convolution")

    descriptor = ct.utils.MultiFunctionDescriptor()
    for size in (64, 128):
        package(tmp_path / f"{size}.mlpackage", build, (1, 4, size, size), minimum_deployment_target=ct.target.iOS18)
        descriptor.add_function(str(tmp_path / f"{size}.mlpackage"), "main", f"at{size}")
    descriptor.default_function_name = "at128"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "both.mlpackage"))
    inspection = inspect(tmp_path / "both.mlpackage")
    assert [function.name for function in inspection.functions] == ["at128", "at64"]
    assert [function.inputs[0].shape for function in inspection.functions] == [(1, 4, 128, 128), (1, 4, 64, 64)]
    assert inspection.contents.operations == {"conv": 2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.mlmodel", b"\xff" * 40, "cannot be parsed"),
        ("x.mlmodel", b"", "not a Core ML model"),
        ("x.mlpackage", b"a file", "an .mlpackage is a folder"),
    ],
)
def test_what_is_no_core_ml_model_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        formats.read(path)


def test_a_program_without_its_package_is_refused(tmp_path: Path) -> None:
    package(tmp_path / "x.mlpackage", lambda x: mb.relu(x=x), (1, 4))
    bare = tmp_path / "x.mlmodel"
    bare.write_bytes((tmp_path / "x.mlpackage/Data/com.apple.CoreML/model.mlmodel").read_bytes())
    with pytest.raises(BadInput, match="without its weights"):
        formats.read(bare)


# --- our own packages


def graph(seed: int) -> Graph:
    return reparameterise(lower(random_tiny(seed, 5), "classify", "logits", True))[0]


def exported(path: Path, made: Graph, precision: str, side: int) -> Inspection:
    target = Target(
        format="coreml",
        precision=precision,
        height=side,
        width=side,
        batch=1,
        task="classify",
        output="logits",
        preprocess=True,
        labels=tuple("abcde"),
    )
    exporters.load(exporters.FORMATS["coreml"]).build(made, target, path)
    return inspect(path)


def spec_of(path: Path) -> Any:
    return ct.models.MLModel(str(path), skip_model_load=True).get_spec()


@pytest.mark.parametrize(("precision", "blocked"), [("fp16", set()), ("fp32", {"float32"})])
def test_our_own_package_runs_on_the_engine_in_fp16_alone(tmp_path: Path, precision: str, blocked: set[str]) -> None:
    inspection = exported(tmp_path / "x.mlpackage", graph(0), precision, 64)
    assert rules(inspection, Severity.BLOCKS) == blocked
    assert rules(inspection, Severity.ROUNDS) == {"epsilon"}
    block = spec_of(tmp_path / "x.mlpackage").mlProgram.functions["main"].block_specializations["CoreML6"]
    assert inspection.contents.operations == Counter(op.type for op in block.operations if op.type != "const")
    blobs = sum(path.stat().st_size for path in (tmp_path / "x.mlpackage").rglob("weight.bin"))
    assert 0.9 * blobs < inspection.functions[0].weight_bytes <= blobs  # each record has a header


@pytest.mark.parametrize("side", [2048, 4096])
def test_a_large_image_stays_on_the_engine(tmp_path: Path, side: int) -> None:
    """Stage 1 has (side / 16)^2 tokens: 16384 of them at 2048, the longest axis, and 65536 at 4096."""
    assert rules(exported(tmp_path / "x.mlpackage", graph(1), "fp16", side), Severity.BLOCKS) == set()


@pytest.mark.slow
@pytest.mark.parametrize("side", [2048, 4096])
def test_so_does_one_of_m4(tmp_path: Path, side: int) -> None:
    made = reparameterise(lower(random_network(VARIANTS["m4"], 0, 5), "classify", "logits", True))[0]
    inspection = exported(tmp_path / "x.mlpackage", made, "fp16", side)
    assert rules(inspection, Severity.BLOCKS) | (rules(inspection, Severity.ROUNDS) - {"epsilon"}) == set()
