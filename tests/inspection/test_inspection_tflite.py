"""Rules for TFLite files on the GPU delegate and XNNPACK.

What XNNPACK takes is asked of XNNPACK itself, operation by operation. The GPU delegate does not run
here: what it takes is written from its source (see the rules' own), and held against the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from model_files import Array, Computed, Tensor, integers, ones, options, write_operation, write_tflite
from networks import random_tiny
from simulated import target_of

import exporters
import runtimes
from evim_deploy import formats
from evim_deploy.formats import FileOperation
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.inspection import Inspection, inspect
from evim_deploy.inspection.rules import Severity
from evim_deploy.networks.efficientvim.lowering import lower
from runtimes.delegation import Delegation

TANH = schema.ActivationFunctionType.TANH
GPU, XNNPACK = "tflite_gpu", "xnnpack"
LITERT = tuple(map(int, version("ai-edge-litert").split(".")[:2]))


def floats(*shape: int) -> Computed:
    return Computed(shape)


def of(dtype: str, *shape: int) -> Computed:
    return Computed(shape, dtype)


X = floats(1, 8, 8, 4)
PADDED = floats(1, 10, 10, 4)
PADDINGS = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)


def conv(**fields: Any) -> Any:
    return options("Conv2D", **{"strideW": 1, "strideH": 1, **fields})


def depthwise(**fields: Any) -> Any:
    return options("DepthwiseConv2D", **{"strideW": 1, "strideH": 1, "depthMultiplier": 1, **fields})


def pool(size: int, stride: int) -> Any:
    return options("Pool2D", filterWidth=size, filterHeight=size, strideW=stride, strideH=stride)


def reducer(keep: bool = False) -> Any:
    return options("Reducer", keepDims=keep)


@dataclass(frozen=True)
class Case:
    """One operation, and the rules that it violates on each backend."""

    type: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Computed, ...]
    options: Any = None
    gpu: str = ""
    xnnpack: str = ""
    runs: bool = True

    def write(self, path: Path) -> Path:
        return write_operation(path, self.type, self.inputs, self.outputs, self.options)


def unary(types: str, gpu: str = "", xnnpack: str = "") -> dict[str, Case]:
    return {type_.lower(): Case(type_, (X,), (X,), None, gpu, xnnpack) for type_ in types.split()}


def binary(types: str, xnnpack: str = "") -> dict[str, Case]:
    names = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div"}
    return {
        type_.lower(): Case(type_, (X, X), (X,), options(names[type_]) if type_ in names else None, "", xnnpack)
        for type_ in types.split()
    }


KERNEL: tuple[Array, Array] = (ones(6, 3, 3, 4), ones(6))
WIDE = floats(1, 8, 8, 6)

CASES: dict[str, Case] = {
    # --- by type alone
    **unary("ABS CEIL COS ELU EXP FLOOR HARD_SWISH LOGISTIC NEG RELU RELU6 RELU_N1_TO_1 RSQRT SIN SQRT SQUARE TANH"),
    "log": Case("LOG", (X,), (X,), runs=LITERT >= (2, 2)),  # before, XNNPACK did not take it
    **unary("SIGN", xnnpack="operation"),
    **unary("ROUND", gpu="operation"),
    **binary("ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE"),
    **binary("POW FLOOR_DIV", xnnpack="operation"),
    "gelu": Case("GELU", (X,), (X,), options("Gelu")),
    "leaky relu": Case("LEAKY_RELU", (X,), (X,), options("LeakyRelu", alpha=0.1)),
    "expand_dims": Case("EXPAND_DIMS", (floats(8, 4), integers(0)), (floats(1, 8, 4),), None, "operation", "operation"),
    "squeeze": Case("SQUEEZE", (floats(1, 8, 4),), (floats(8, 4),), options("Squeeze"), "operation", "operation"),
    "log softmax": Case("LOG_SOFTMAX", (floats(1, 8),), (floats(1, 8),), None, "operation", "operation"),
    "l2 norm": Case("L2_NORMALIZATION", (floats(1, 8),), (floats(1, 8),), options("L2Norm"), "operation", "operation"),
    "top k": Case(
        "TOPK_V2",
        (floats(1, 8), np.array(2, np.int32)),
        (floats(1, 2), of("int32", 1, 2)),
        None,
        "operation",
        "operation",
    ),
    "shape": Case("SHAPE", (X,), (of("int32", 4),), options("Shape", outType=2), "operation", "operation"),
    "tile": Case("TILE", (X, integers(1, 2, 1, 1)), (floats(1, 16, 8, 4),), None, "", "operation"),
    "custom": Case("CUSTOM:Mystery", (X,), (X,), None, "operation", "operation", runs=False),
    # --- element types
    "integers": Case("ADD", (of("int32", 1, 8),) * 2, (of("int32", 1, 8),), options("Add"), "dtype", "dtype"),
    "int64 cast": Case("CAST", (of("int64", 1, 8),), (floats(1, 8),), options("Cast"), "dtype cast", "operation"),
    "int32 cast": Case("CAST", (of("int32", 1, 8),), (floats(1, 8),), options("Cast"), "", "operation"),
    "quantised sum": Case("ADD", (of("int8", 1, 8),) * 2, (of("int8", 1, 8),), options("Add")),
    "quantised exp": Case("EXP", (of("int8", 1, 8),), (of("int8", 1, 8),), None, "", "dtype"),
    "quantise": Case("QUANTIZE", (floats(1, 8),), (of("int8", 1, 8),)),
    "dequantise": Case("DEQUANTIZE", (of("int8", 1, 8),), (floats(1, 8),)),
    "less": Case("LESS", (X, X), (of("bool", 1, 8, 8, 4),), None, "", "operation"),
    "select": Case("SELECT_V2", (of("bool", 1, 8), floats(1, 8), floats(1, 8)), (floats(1, 8),), None, "", "operation"),
    # --- ranks
    "five axes": Case("ADD", (floats(1, 1, 8, 8, 4),) * 2, (floats(1, 1, 8, 8, 4),), options("Add"), "rank"),
    "seven axes": Case("ADD", (floats(*(1,) * 6, 2),) * 2, (floats(*(1,) * 6, 2),), options("Add"), "rank", "rank"),
    "scalar": Case("ABS", (floats(),), (floats(),), None, "rank"),
    # --- convolutions
    "conv": Case("CONV_2D", (X, *KERNEL), (WIDE,), conv()),
    "conv without bias": Case("CONV_2D", (X, KERNEL[0]), (WIDE,), conv(), "", "bias", runs=False),
    "conv of computed weights": Case("CONV_2D", (X, floats(6, 3, 3, 4), ones(6)), (WIDE,), conv(), "", "constant"),
    "conv with tanh": Case("CONV_2D", (X, *KERNEL), (WIDE,), conv(fusedActivationFunction=TANH), "", "activation"),
    "conv of computed groups": Case(
        "CONV_2D", (X, floats(6, 3, 3, 2), ones(6)), (WIDE,), conv(), "computed_weights", "constant"
    ),
    "depthwise": Case("DEPTHWISE_CONV_2D", (X, ones(1, 3, 3, 4), ones(4)), (X,), depthwise()),
    "depthwise multiplier": Case(
        "DEPTHWISE_CONV_2D",
        (X, ones(1, 3, 3, 8), ones(8)),
        (floats(1, 8, 8, 8),),
        depthwise(depthMultiplier=2),
        "depth_multiplier",
    ),
    "depthwise of int8 weights": Case(
        "DEPTHWISE_CONV_2D", (X, ones(1, 3, 3, 4, dtype="int8"), ones(4)), (X,), depthwise(), "", "mixed", runs=False
    ),
    "transposed conv": Case(
        "TRANSPOSE_CONV",
        (integers(1, 16, 16, 6), ones(6, 2, 2, 4), X, ones(6)),
        (floats(1, 16, 16, 6),),
        options("TransposeConv", strideW=2, strideH=2),
    ),
    # --- products
    "linear": Case("FULLY_CONNECTED", (floats(1, 4), ones(6, 4), ones(6)), (floats(1, 6),), options("FullyConnected")),
    "linear of computed weights": Case(
        "FULLY_CONNECTED", (floats(1, 4), floats(6, 4)), (floats(1, 6),), options("FullyConnected"), "", "constant"
    ),
    "linear of a constant": Case(
        "FULLY_CONNECTED",
        (ones(1, 4), floats(6, 4)),
        (floats(1, 6),),
        options("FullyConnected"),
        "fully_connected",
        "constant",
    ),
    "matmul": Case("BATCH_MATMUL", (floats(1, 3, 4), floats(1, 4, 5)), (floats(1, 3, 5),), options("BatchMatMul")),
    "outer product": Case("MUL", (floats(1, 8, 1, 4), floats(1, 1, 8, 4)), (X,), options("Mul"), "broadcast"),
    "scale per channel": Case("MUL", (X, floats(1, 1, 1, 4)), (X,), options("Mul")),
    "prelu": Case("PRELU", (X, ones(1, 1, 4)), (X,)),
    "prelu of a computed slope": Case("PRELU", (X, floats(1, 1, 4)), (X,), None, "", "constant"),
    # --- pooling and reductions
    "average pool": Case("AVERAGE_POOL_2D", (X,), (floats(1, 4, 4, 4),), pool(2, 2)),
    "max pool": Case("MAX_POOL_2D", (X,), (floats(1, 4, 4, 4),), pool(2, 2)),
    "pool that leaves some out": Case("MAX_POOL_2D", (X,), (floats(1, 3, 3, 4),), pool(2, 3), "", "pooling"),
    "mean": Case("MEAN", (X, integers(1, 2)), (floats(1, 1, 1, 4),), reducer(keep=True)),
    "mean of channels": Case("MEAN", (X, integers(3)), (floats(1, 8, 8, 1),), reducer(keep=True)),
    "mean over computed axes": Case(
        "MEAN", (X, of("int32", 2)), (floats(1, 1, 1, 4),), reducer(keep=True), "axes dtype", "constant dtype"
    ),
    "sum": Case("SUM", (X, integers(2)), (floats(1, 8, 4),), reducer()),
    "maximum over an axis": Case("REDUCE_MAX", (X, integers(2)), (floats(1, 8, 4),), reducer()),
    "product over an axis": Case("REDUCE_PROD", (X, integers(2)), (floats(1, 8, 4),), reducer(), "", "operation"),
    "softmax": Case("SOFTMAX", (floats(1, 9),), (floats(1, 9),), options("Softmax", beta=1.0)),
    "sharp softmax": Case(
        "SOFTMAX", (floats(1, 9),), (floats(1, 9),), options("Softmax", beta=2.0), "softmax", "softmax"
    ),
    # --- what moves data
    "concat 5": Case("CONCATENATION", (X,) * 5, (floats(1, 8, 8, 20),), options("Concatenation", axis=3)),
    "concat 6": Case("CONCATENATION", (X,) * 6, (floats(1, 8, 8, 24),), options("Concatenation", axis=3), "", "count"),
    "split 4": Case("SPLIT", (integers(3), X), (floats(1, 8, 8, 1),) * 4, options("Split", numSplits=4)),
    "split 5": Case(
        "SPLIT",
        (integers(3), floats(1, 8, 8, 5)),
        (floats(1, 8, 8, 1),) * 5,
        options("Split", numSplits=5),
        "",
        "count",
    ),
    "uneven split": Case(
        "SPLIT_V",
        (X, integers(1, 3), np.array(3, np.int32)),
        (floats(1, 8, 8, 1), floats(1, 8, 8, 3)),
        options("SplitV", numSplits=2),
        "",
        "operation",
    ),
    "slice": Case("SLICE", (X, integers(0, 0, 0, 0), integers(1, 4, 4, 4)), (floats(1, 4, 4, 4),)),
    "slice of two axes": Case("SLICE", (floats(8, 4), integers(0, 0), integers(4, 4)), (floats(4, 4),), None, "slice"),
    "strided slice": Case(
        "STRIDED_SLICE",
        (X, integers(0, 0, 0, 0), integers(1, 4, 4, 4), integers(1, 1, 1, 1)),
        (floats(1, 4, 4, 4),),
        options("StridedSlice"),
    ),
    "slice of every second": Case(
        "STRIDED_SLICE",
        (X, integers(0, 0, 0, 0), integers(1, 8, 8, 4), integers(1, 2, 2, 1)),
        (floats(1, 4, 4, 4),),
        options("StridedSlice"),
        "",
        "slice",
    ),
    "slice that drops an axis": Case(
        "STRIDED_SLICE",
        (X, integers(0, 0, 0, 0), integers(1, 8, 8, 4), integers(1, 1, 1, 1)),
        (floats(8, 8, 4),),
        options("StridedSlice", shrinkAxisMask=1),
        "slice",
        "slice",
    ),
    "reshape": Case("RESHAPE", (X, integers(1, 64, 4)), (floats(1, 64, 4),), options("Reshape")),
    "transpose": Case("TRANSPOSE", (X, integers(0, 3, 1, 2)), (floats(1, 4, 8, 8),)),
    "pad": Case("PAD", (X, PADDINGS), (PADDED,)),
    "pad of two axes": Case("PAD", (floats(8, 4), PADDINGS[:2]), (floats(8, 6),), None, "pad"),
    "mirror pad": Case("MIRROR_PAD", (X, PADDINGS), (PADDED,), options("MirrorPad", mode=0), "", "operation"),
    "symmetric pad": Case("MIRROR_PAD", (X, PADDINGS), (PADDED,), options("MirrorPad", mode=1), "pad", "operation"),
    "gather": Case("GATHER", (X, integers(0, 1)), (floats(1, 8, 8, 2),), options("Gather", axis=3), "", "operation"),
    "gather by a matrix": Case(
        "GATHER",
        (floats(1, 4), np.zeros((1, 2), np.int32)),
        (floats(1, 1, 2),),
        options("Gather", axis=1),
        "gather",
        "operation",
    ),
    "resize": Case("RESIZE_BILINEAR", (X, integers(16, 16)), (floats(1, 16, 16, 4),), options("ResizeBilinear")),
    "depth to space": Case("DEPTH_TO_SPACE", (X,), (floats(1, 16, 16, 1),), options("DepthToSpace", blockSize=2)),
    "space to depth": Case("SPACE_TO_DEPTH", (X,), (floats(1, 4, 4, 16),), options("SpaceToDepth", blockSize=2)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operations")


@cache
def inspected(folder: Path, name: str) -> tuple[Path, Inspection]:
    path = CASES[name].write(folder / f"{name.replace(' ', '_')}.tflite")
    return path, inspect(path)


def rules(inspection: Inspection, target: str, severity: str) -> set[str]:
    """Ids of the rules of a severity that a file violates."""
    (result,) = [each for each in inspection.functions[0].targets if each.target == target]
    return {finding.rule for finding in result.findings if finding.severity == severity}


def delegated(path: Path) -> bool:
    """Whether XNNPACK runs the single operation of a file."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return any(each["op_name"] == "DELEGATE" for each in interpreter._get_ops_details())


@pytest.mark.parametrize("name", CASES)
def test_each_operation_is_blocked_by_the_rules_that_are_meant_for_it(folder: Path, name: str) -> None:
    _, inspection = inspected(folder, name)
    assert rules(inspection, GPU, Severity.BLOCKS) == set(CASES[name].gpu.split())
    assert rules(inspection, XNNPACK, Severity.BLOCKS) == set(CASES[name].xnnpack.split())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.runs])
def test_xnnpack_itself_takes_what_no_rule_blocks_and_no_more(folder: Path, name: str) -> None:
    path, inspection = inspected(folder, name)
    assert delegated(path) == (not rules(inspection, XNNPACK, Severity.BLOCKS))


def test_every_rule_fires_somewhere_and_is_silent_elsewhere() -> None:
    from evim_deploy.inspection.tflite_gpu import TFLITE_GPU
    from evim_deploy.inspection.xnnpack import XNNPACK as TARGET

    for target, column in ((TFLITE_GPU, "gpu"), (TARGET, "xnnpack")):
        fired = {rule for case in CASES.values() for rule in getattr(case, column).split()}
        expected = {rule.id for rule in target.rules if rule.severity == Severity.BLOCKS and not rule.of_inputs}
        assert expected - {"block"} <= fired, expected - fired


def test_a_block_of_one_is_refused(tmp_path: Path) -> None:
    case = Case("DEPTH_TO_SPACE", (X,), (X,), options("DepthToSpace", blockSize=1))
    assert rules(inspect(case.write(tmp_path / "x.tflite")), XNNPACK, Severity.BLOCKS) == {"block"}


@pytest.mark.parametrize(
    ("channels", "kernel", "gives", "slow"),
    [
        (4, 4, 6, False),  # one group
        (4, 1, 4, False),  # depthwise, which the delegate recognises
        (8, 4, 8, False),  # two groups of four
        (4, 2, 4, True),  # two groups of two
        (8, 4, 12, True),  # two groups of four channels, but of six outputs
    ],
)
def test_groups_that_are_neither_depthwise_nor_of_fours_are_slow_on_a_gpu(
    tmp_path: Path, channels: int, kernel: int, gives: int, slow: bool
) -> None:
    inputs = (floats(1, 8, 8, channels), ones(gives, 3, 3, kernel), ones(gives))
    path = Case("CONV_2D", inputs, (floats(1, 8, 8, gives),), conv()).write(tmp_path / "x.tflite")
    assert ("grouped_convolution" in rules(inspect(path), GPU, Severity.SLOWS)) == slow


def test_an_open_axis_is_reported(tmp_path: Path) -> None:
    batch = Computed((1, 8), signature=(-1, 8))
    inspection = inspect(write_operation(tmp_path / "x.tflite", "ABS", [batch], [batch]))
    assert rules(inspection, GPU, Severity.BLOCKS) == {"dynamic_shape"}
    assert rules(inspection, XNNPACK, Severity.SLOWS) == {"dynamic_shape"}
    assert [target.kept_off for target in inspection.functions[0].targets] == [1, 0]
    assert delegated(inspection.path)


def test_weights_in_half_precision_are_constants(tmp_path: Path) -> None:
    """The weights are dequantised once, at loading, and belong to the convolution."""
    tensors = [X, ones(6, 3, 3, 4, dtype="float16"), ones(6, dtype="float16"), floats(6, 3, 3, 4), floats(6), WIDE]
    nodes = [("DEQUANTIZE", [1], [3], None), ("DEQUANTIZE", [2], [4], None), ("CONV_2D", [0, 3, 4], [5], conv())]
    inspection = inspect(write_tflite(tmp_path / "x.tflite", tensors, nodes, [0], [5]))
    assert rules(inspection, XNNPACK, Severity.BLOCKS) == set()
    assert delegated(inspection.path)
    (layer,) = inspection.functions[0].layers
    assert (layer.type, layer.bytes) == ("CONV_2D", 2 * (6 * 3 * 3 * 4 + 6))
    assert inspection.functions[0].targets[0].operations == 1


def test_what_a_converter_with_transposes_leaves_is_reported(tmp_path: Path) -> None:
    """A file as written by onnx2tf: channels first, a transpose before and after each convolution."""
    first = floats(1, 4, 8, 8)
    tensors = [first, integers(0, 2, 3, 1), X, *KERNEL, WIDE, integers(0, 3, 1, 2), floats(1, 6, 8, 8)]
    nodes = [
        ("TRANSPOSE", [0, 1], [2], None),
        ("CONV_2D", [2, 3, 4], [5], conv()),
        ("TRANSPOSE", [5, 6], [7], None),
    ]
    (function,) = inspect(write_tflite(tmp_path / "x.tflite", tensors, nodes, [0], [7])).functions
    assert [(move.type, move.is_view, move.inputs, move.outputs) for move in function.movements] == [
        ("TRANSPOSE", False, ((1, 4, 8, 8),), ((1, 8, 8, 4),)),
        ("TRANSPOSE", False, ((1, 8, 8, 6),), ((1, 6, 8, 8),)),
    ]
    (gpu,) = [target for target in function.targets if target.target == GPU]
    assert [(finding.rule, finding.type) for finding in gpu.findings] == [("reshape", "TRANSPOSE")] * 2


@cache
def graph(output: str) -> Graph:
    task = "features" if output == "features" else "classify"
    return reparameterise(lower(random_tiny(0, 5), task, output, True))[0]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("output", ["probabilities", "features"])
def test_our_own_file_runs_on_both(tmp_path: Path, output: str, precision: str, batch: int) -> None:
    """Both backends run all operations, and XNNPACK does so in one partition."""
    path = tmp_path / "tiny.tflite"
    target = target_of("tflite", precision, output, (64, 96), batch, classes=5)
    exporters.load(exporters.FORMATS["tflite"]).build(graph(output), target, path)
    (function,) = inspect(path).functions
    gpu, xnnpack = function.targets
    assert (gpu.kept_off, xnnpack.kept_off) == (0, 0)
    result = runtimes.read_delegation(path)
    assert result is not None
    assert (result.partitions, result.outside) == (1, ())
    halves = sum(len(each.inputs) == 1 and each.inputs[0].dtype == "float16" for each in operations(path))
    assert (halves > 0) == (precision == "fp16")
    assert result.operations == len(operations(path))


def operations(path: Path) -> tuple[FileOperation, ...]:
    return formats.read(path).functions[0].operations


def network(path: Path, type_: str) -> Path:
    """A convolution, an operation of a type, and another convolution, with half-precision weights."""
    half = [ones(4, 3, 3, 4, dtype="float16"), ones(4, dtype="float16")]
    wide = [floats(4, 3, 3, 4), floats(4)]
    tensors = [X, *half, *wide, *half, *wide, X, X, X]
    nodes = [
        *(("DEQUANTIZE", [each], [each + 2], None) for each in (1, 2, 5, 6)),
        ("CONV_2D", [0, 3, 4], [9], conv()),
        (type_, [9, 9], [10], None),
        ("CONV_2D", [10, 7, 8], [11], conv()),
    ]
    return write_tflite(path, tensors, nodes, [0], [11])


def test_an_operation_that_xnnpack_refuses_parts_the_file(tmp_path: Path) -> None:
    """Half-precision weights belong to the partitions on both sides."""
    whole = runtimes.read_delegation(network(tmp_path / "whole.tflite", "MAXIMUM"))
    parted = runtimes.read_delegation(network(tmp_path / "parted.tflite", "POW"))
    assert whole == Delegation(7, 1, ())
    assert parted == Delegation(7, 2, ("POW",))


def test_a_file_of_tensorflows_own_converter_is_reported(tmp_path: Path) -> None:
    import tensorflow as tf

    def network(image: Any) -> Any:
        x = tf.nn.conv2d(image, tf.ones((3, 3, 3, 4)), 1, "SAME")
        x = tf.nn.relu(tf.nn.bias_add(x, tf.ones(4)))
        index = tf.argmax(tf.reduce_mean(x, (1, 2)), -1, tf.int32)
        return {"label": index, "map": tf.transpose(x, (0, 3, 1, 2))}

    module = tf.Module()
    module.serve = tf.function(network, [tf.TensorSpec((1, 8, 8, 3), tf.float32, "photo")])
    path = tmp_path / "tf.tflite"
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    path.write_bytes(converter.convert())
    inspection = inspect(path)
    (function,) = inspection.functions
    assert [value.name for value in inspection.contents.inputs] == ["photo"]
    assert {value.name for value in inspection.contents.outputs} == {"label", "map"}
    assert inspection.manifest is None
    assert function.classes["reduction"] == {"MEAN": 1, "ARG_MAX": 1}
    assert [move.type for move in function.movements] == ["TRANSPOSE"]
    for target in function.targets:
        assert {finding.type for finding in target.findings if finding.severity == Severity.BLOCKS} == {"ARG_MAX"}
