"""Exporters of all formats: structure of the graph, outputs of the network, and metadata."""

from __future__ import annotations

import functools
import json
import shutil
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simulated
import torch
from ai_edge_litert import schema_py_generated as litert_schema
from networks import normalise, pixels, random_network, random_tiny
from onnx2tf_here import needs_onnx2tf
from simulated import FACTS
from torch import Tensor

import exporters
import runtimes
from evim_deploy import formats
from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.info import Structure
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.catalog.variants import MODELS, PUBLISHED, Variant
from evim_deploy.common.errors import NotInstalled, UsageProblem
from evim_deploy.graph.interpreter import evaluate
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites import reparameterise
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS, lower
from evim_deploy.networks.efficientvim.model import EfficientViM

Size = tuple[int, int]

SQUARE_224, SQUARE_256, OBLONG = (224, 224), (256, 256), (192, 320)
SIZES = (SQUARE_224, SQUARE_256, OBLONG)
CLASSES = 5

slow = pytest.mark.slow

# A conversion takes seconds: the smallest variant at every size, the others at one size each.
CONVERTED = [
    pytest.param(name, size, id=f"{name}-{size[0]}x{size[1]}")
    for name, at in zip(PUBLISHED, (0, 2, 1, 2), strict=True)
    for i, size in enumerate(SIZES)
    if name == "m1" or at == i
]


# --- expected structure of a variant, from the paper's description alone ----------------------------------


def blocks(variant: Variant) -> int:
    return sum(variant.depths)


def depthwise_convolutions(variant: Variant) -> int:
    """Number of depthwise convolutions: three in a block (one in its mixer), three in each of two down-samplings."""
    return 3 * blocks(variant) + 2 * 3


def layer_norms(variant: Variant) -> int:
    """Number of layer norms: one in a block, and one before each of the four heads."""
    return blocks(variant) + 4


def map_norms(variant: Variant) -> int:
    """Number of layer norms over a map: one in a block, and one in the fourth head."""
    return blocks(variant) + 1


def convolutions(variant: Variant) -> int:
    """Number of convolutions: 4 in the stem, 9 in a block, 7 in a down-sampling.

    A block has 6 on maps and 3 on states (hz_proj, its bias, out_proj); a down-sampling has 5 and 2 in its gate.
    """
    return 4 + 9 * blocks(variant) + 2 * 7


def views(variant: Variant) -> int:
    """Number of views: u and (B, C, dt) to tokens and y to a map in each block."""
    return 3 * blocks(variant)


def padded(size: Size) -> int:
    """Number of strided convolutions with a PAD operation: TensorFlow pads an even side at one end only."""
    steps = []
    for _ in range(4 + 2):
        steps.append(size)
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return sum(height % 2 == 0 or width % 2 == 0 for height, width in steps)


# --- build each artifact once -----------------------------------------------------------------------------


@functools.cache
def published(name: str, distilled: bool = False) -> Graph:
    """The rewritten graph of a published variant with few classes."""
    return reparameterise(lower(random_network(PUBLISHED[name], 0, CLASSES, distilled), "classify", "logits", True))[0]


@functools.cache
def tiny_model(seed: int, distilled: bool = False) -> EfficientViM:
    return random_tiny(seed, CLASSES, distilled)


@functools.cache
def tiny(seed: int, output: str = "logits", preprocess: bool = True, distilled: bool = False) -> Graph:
    """The rewritten graph of a random tiny network; ``output`` may be ``features``."""
    task = "features" if output == "features" else "classify"
    return reparameterise(lower(tiny_model(seed, distilled), task, output, preprocess))[0]


def target_of(
    format_: str,
    size: tuple[int | None, int | None],
    precision: str = "fp32",
    batch: int | None = 1,
    output: str = "logits",
    preprocess: bool = True,
    classes: int = CLASSES,
) -> Target:
    """A target whose labels are not ASCII."""
    target = simulated.target_of(format_, precision, output, size, batch, preprocess, classes)
    return replace(target, labels=tuple(label.replace("class", "cläss") for label in target.labels))


@dataclass(frozen=True)
class Built:
    """An artifact on disk and its signature."""

    path: Path
    contract: Signature

    def run(self, image: Tensor) -> dict[str, Tensor]:
        engine = runtimes.tracing_engine(self.path)  # accepts fractional pixel values on a Mac, too
        with runtimes.open_artifact(self.path, engine) as session:
            outputs = session.run(image.float().numpy())
        return {name: torch.from_numpy(np.array(array)).double() for name, array in outputs.items()}


class Workshop:
    """Builds each artifact once and caches it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[int, Target], Built] = {}

    def build(self, graph: Graph, target: Target) -> Built:
        key = (id(graph), target)  # the graphs are cached, so their ids stay unique
        if key not in self._made:
            row = exporters.FORMATS[target.format]
            path = self._folder / f"artifact-{len(self._made)}{row.suffix}"
            self._made[key] = Built(path, exporters.load(row).build(graph, target, path))
        return self._made[key]

    def fresh(self, graph: Graph, target: Target, path: Path) -> Built:
        """Build an artifact that the test may change."""
        return Built(path, exporters.load(exporters.FORMATS[target.format]).build(graph, target, path))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("artifacts"))


def structure(built: Built) -> Structure:
    return Structure.of(formats.read(built.path).operations)


def gap(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference over all outputs, each relative to its largest value."""
    assert actual.keys() == expected.keys()
    worst = 0.0
    for name, reference in expected.items():
        assert actual[name].shape == reference.shape
        assert torch.isfinite(actual[name]).all()
        worst = max(worst, ((actual[name] - reference).abs().max() / reference.abs().max()).item())
    return worst


# --- a distilled model has the same graph -----------------------------------------------------------------


def blueprint(graph: Graph) -> list[tuple[object, ...]]:
    """Operations, edges, attributes and shapes of weights of a graph, without names and values."""
    order = {graph.input_name: -1}
    for node in graph.nodes:
        order.update({value: len(order) for value in node.outputs})
    return [
        (
            node.op,
            tuple(order[value] for value in node.inputs),
            sorted(node.attributes.items()),
            sorted((name, array.shape) for name, array in node.weights.items()),
        )
        for node in graph.nodes
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_distilled_model_has_the_same_operations(name: str) -> None:
    """Tests of a plain model's artifacts therefore apply to the distilled model in every format."""
    assert blueprint(published(name, distilled=True)) == blueprint(published(name))


def test_blueprints_of_two_variants_differ() -> None:
    assert blueprint(published("m1")) != blueprint(published("m2"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_graph_has_the_depthwise_convolutions_of_the_paper(name: str) -> None:
    assert sum(node.is_depthwise for node in published(name).nodes) == depthwise_convolutions(PUBLISHED[name])


def test_m4_has_33_depthwise_convolutions() -> None:
    assert depthwise_convolutions(PUBLISHED["m4"]) == 33


# --- ONNX: structure --------------------------------------------------------------------------------------

NO_BUSINESS_IN_ONNX = ("BatchNormalization", "Transpose", "Identity", "Dropout", "Constant", "Flatten", "LayerNorm")


def onnx_faults(model: Any) -> list[str]:
    """List the structural faults of an ONNX graph with fixed shapes."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    initializers = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    faults = [f"{opset.domain} operators" for opset in model.opset_import if opset.domain not in ("", "ai.onnx")]
    for node in model.graph.node:
        if node.op_type in NO_BUSINESS_IN_ONNX:
            faults.append(f"{node.op_type} {node.name}")
        if node.op_type == "Reshape" and not is_view(shapes[node.input[0]], shapes[node.output[0]]):
            faults.append(f"Reshape {node.name}: {shapes[node.input[0]]} to {shapes[node.output[0]]}")
        if node.op_type == "Conv" and initializers[node.input[1]][1] not in (1, shapes[node.input[0]][1]):
            faults.append(f"grouped Conv {node.name}")
    return faults + [f"nothing takes {value}" for value in unused(model)]


def is_view(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether a reshape only joins (H, W) into L or splits L into (H, W); batch and channels stay the same."""
    if {len(before), len(after)} != {3, 4}:
        return False
    tokens, map_ = sorted((before, after), key=len)
    return min(map_) > 0 and tokens == (*map_[:2], map_[2] * map_[3])


def unused(model: Any) -> list[str]:
    graph = model.graph
    taken = {value for node in graph.node for value in node.input} | {output.name for output in graph.output}
    made = [value for node in graph.node for value in node.output] + [tensor.name for tensor in graph.initializer]
    return [value for value in made if value not in taken]


@pytest.mark.parametrize(
    ("size", "distilled"),
    [*((size, False) for size in SIZES), (OBLONG, True)],
    ids=["224x224", "256x256", "192x320", "192x320-distilled"],
)
@pytest.mark.parametrize("name", PUBLISHED)
def test_onnx_structure(tmp_path: Path, workshop: Workshop, name: str, size: Size, distilled: bool) -> None:
    import onnx

    built = workshop.fresh(published(name, distilled), target_of("onnx", size), tmp_path / "m.onnx")
    assert onnx_faults(onnx.load(built.path)) == []
    found, variant = structure(built), PUBLISHED[name]
    assert (found.transposes, found.batch_norms) == (0, 0)
    assert found.operations["Reshape"] == views(variant) + 2 * map_norms(variant)
    assert found.operations["ReduceMean"] == 2 + 4  # gates of down-samplings and features of heads, none over channels
    assert found.operations["MatMul"] == blocks(variant) + 2 * layer_norms(variant)
    assert found.operations["Conv"] == convolutions(variant)
    assert found.operations["Einsum"] == found.operations["Softmax"] == blocks(variant)
    assert found.operations["Gemm"] == 1  # all heads, eight in a distilled model, are merged


@pytest.mark.parametrize("name", ["m1", "m4"])
def test_onnx_in_fp16_differs_only_by_casts(tmp_path: Path, workshop: Workshop, name: str) -> None:
    import onnx

    half = workshop.fresh(published(name), target_of("onnx", OBLONG, "fp16"), tmp_path / "half.onnx")
    full = workshop.fresh(published(name), target_of("onnx", OBLONG), tmp_path / "full.onnx")
    model = onnx.load(half.path)
    assert onnx_faults(model) == []
    operations = structure(half).operations
    assert operations.pop("Cast") == 1 + 1 + 2 * layer_norms(
        PUBLISHED[name]
    )  # input, logits, before and after each norm
    assert operations == structure(full).operations
    float_type = onnx.TensorProto.FLOAT
    assert [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)] == [float_type] * 2
    wide = [tensor.name for tensor in model.graph.initializer if tensor.data_type == float_type]
    eps, rows = (
        layer_norms(PUBLISHED[name]),
        set(PUBLISHED[name].channels),
    )  # one row of the mean over channels for each number of channels
    assert sorted(name for name in wide if not name.endswith("/eps")) == sorted(f"mean_of.{d}" for d in rows)
    assert len(wide) == eps + len(rows)


def test_onnx_default_operator_set_and_ir_version(workshop: Workshop) -> None:
    import onnx

    model = onnx.load(workshop.build(tiny(0), target_of("onnx", (64, 96))).path)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.ir_version == 8


def _insert(op: str, attributes: dict[str, Any], weights: tuple[Any, ...] = ()) -> Callable[[Any], None]:
    """Insert an operation that preserves the shape after the first Relu."""

    def change(model: Any) -> None:
        from onnx import helper, numpy_helper

        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        value, relu.output[0] = relu.output[0], "before"
        names = [f"weight{i}" for i in range(len(weights))]
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in zip(weights, names, strict=True))
        at = list(model.graph.node).index(relu) + 1
        model.graph.node.insert(at, helper.make_node(op, ["before", *names], [value], **attributes))

    return change


def _dead(model: Any) -> None:
    from onnx import helper

    model.graph.node.append(helper.make_node("Relu", [model.graph.node[0].output[0]], ["nobody"]))


CHANNELS = 3  # channels of the first ReLU in tiny(0): 24 / 8
ONNX_CHANGES = {
    "Transpose": _insert("Transpose", {"perm": [0, 1, 2, 3]}),
    "Identity": _insert("Identity", {}),
    "BatchNormalization": _insert(
        "BatchNormalization", {}, tuple(np.ones(CHANNELS, dtype=np.float32) for _ in range(4))
    ),
    "Reshape": _insert("Reshape", {}, (np.array([1, CHANNELS, 32, 48], dtype=np.int64),)),
    "nothing takes": _dead,
}


@pytest.mark.parametrize("fault", ONNX_CHANGES)
def test_onnx_faults_detects_a_changed_graph(workshop: Workshop, fault: str) -> None:
    import onnx

    model = onnx.load(workshop.build(tiny(0), target_of("onnx", (64, 96))).path)
    assert onnx_faults(model) == []
    ONNX_CHANGES[fault](model)
    (found,) = onnx_faults(model)
    assert found.startswith(fault)


# --- TFLite: structure ------------------------------------------------------------------------------------


def tflite_model(path: Path) -> Any:
    """Read the flatbuffer with LiteRT's schema; the exporter uses TensorFlow's."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


@dataclass(frozen=True)
class TfliteOperation:
    """An operation with the shapes of its inputs and outputs."""

    type: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    options: Any


def tflite_operations(model: Any) -> list[TfliteOperation]:
    from ai_edge_litert import schema_py_generated as schema

    types = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    (subgraph,) = model.subgraphs

    def shape(index: int) -> tuple[int, ...]:
        found = subgraph.tensors[index].shape
        return () if found is None else tuple(int(axis) for axis in found)

    return [
        TfliteOperation(
            types[model.operatorCodes[op.opcodeIndex].builtinCode],
            tuple(shape(index) for index in op.inputs),
            tuple(shape(index) for index in op.outputs),
            op.builtinOptions,
        )
        for op in subgraph.operators
    ]


def tflite_faults(model: Any) -> list[str]:
    """List the structural faults of a TFLite graph."""
    faults = [f"custom operator {code.customCode}" for code in model.operatorCodes if code.customCode is not None]
    for op in tflite_operations(model):
        if op.type in ("CUSTOM", "TRANSPOSE", "TRANSPOSE_CONV"):
            faults.append(op.type)
        if op.type == "CONV_2D" and op.inputs[1][-1] != op.inputs[0][-1]:
            faults.append(f"grouped CONV_2D {op.inputs}")
        if op.type == "DEPTHWISE_CONV_2D" and op.inputs[1][-1] != op.inputs[0][-1]:
            faults.append(f"DEPTHWISE_CONV_2D that widens {op.inputs}")
    (subgraph,) = model.subgraphs
    taken = {index for op in subgraph.operators for index in op.inputs} | set(subgraph.outputs)
    made = [index for op in subgraph.operators for index in op.outputs]
    return faults + [f"nothing takes {subgraph.tensors[index].name}" for index in made if index not in taken]


@pytest.mark.parametrize(("name", "size"), CONVERTED)
def test_tflite_structure(tmp_path: Path, workshop: Workshop, name: str, size: Size) -> None:
    built = workshop.fresh(published(name), target_of("tflite", size), tmp_path / "m.tflite")
    model, found, variant = tflite_model(built.path), structure(built), PUBLISHED[name]
    assert tflite_faults(model) == []
    assert (found.transposes, found.batch_norms) == (0, 0)
    assert found.operations["DEPTHWISE_CONV_2D"] == depthwise_convolutions(variant)
    assert found.operations["CONV_2D"] == convolutions(variant) - depthwise_convolutions(variant)
    assert found.operations["FULLY_CONNECTED"] == 1
    assert found.operations["PAD"] == padded(size)
    (signature,) = model.signatureDefs
    assert [entry.name for entry in signature.inputs] == [b"image"]
    assert [entry.name for entry in signature.outputs] == [b"logits"]
    (image,) = [model.subgraphs[0].tensors[entry.tensorIndex] for entry in signature.inputs]
    assert tuple(image.shape) == (1, *size, 3)


def test_tflite_in_fp16_stores_float16_weights_and_has_the_same_operations(workshop: Workshop) -> None:
    from ai_edge_litert import schema_py_generated as schema

    half = workshop.build(tiny(0), target_of("tflite", (64, 96), "fp16"))
    full = workshop.build(tiny(0), target_of("tflite", (64, 96)))
    assert tflite_faults(tflite_model(half.path)) == []
    operations = structure(half).operations
    dequantised = operations.pop("DEQUANTIZE")
    assert operations == structure(full).operations
    tensors = tflite_model(half.path).subgraphs[0].tensors
    assert sum(tensor.type == schema.TensorType.FLOAT16 for tensor in tensors) == dequantised > 0
    assert half.path.stat().st_size < 0.75 * full.path.stat().st_size


def test_tflite_keeps_every_map_in_one_layout(workshop: Workshop) -> None:
    """Values have rank 4, (B, H, W, C), (B, 1, L, C) or (B, 1, N, D), and rank 2 after the pooling."""
    model = tflite_model(workshop.build(tiny(0), target_of("tflite", (64, 96))).path)
    ranks = Counter(len(shape) for op in tflite_operations(model) for shape in op.outputs)
    assert ranks[2] == 4 + 1 + 1  # pooled features, their concatenation, logits
    assert set(ranks) == {2, 4}


def test_tflite_weights_are_aligned_to_16_bytes(workshop: Workshop, tmp_path: Path) -> None:
    """The schema requires force_align: 16 for Buffer.data. Annotating twice preserves it and adds no duplicates."""
    path = tmp_path / "m.tflite"
    shutil.copy(workshop.build(tiny(0), target_of("tflite", (64, 96))).path, path)
    counts = []
    for text in ("once", "and again"):
        exporters.load(exporters.FORMATS["tflite"]).annotate(path, {"evim_deploy.note": text}, FACTS)
        model = litert_schema.Model.GetRootAs(path.read_bytes(), 0)
        counts.append(model.BuffersLength())
        offsets = [
            model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
            for i in range(model.BuffersLength())
            if not model.Buffers(i).DataIsNone()
        ]
        assert len(offsets) > 20
        assert {offset % 16 for offset in offsets} == {0}
    assert counts[0] == counts[1]


def test_tflite_faults_detects_a_bad_graph() -> None:
    import tensorflow as tf
    from ai_edge_litert import schema_py_generated as schema

    def function(x: Any) -> Any:
        x = tf.nn.conv2d(x, tf.ones((3, 3, 2, 8)), 1, "SAME")
        return tf.nn.relu(tf.transpose(x, (0, 2, 1, 3)))

    traced = tf.function(function, input_signature=[tf.TensorSpec((1, 8, 8, 8))])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    faults = tflite_faults(schema.ModelT.InitFromPackedBuf(converter.convert(), 0))
    assert any("grouped CONV_2D" in fault for fault in faults)
    assert "TRANSPOSE" in faults


# --- Core ML: structure -----------------------------------------------------------------------------------


def spec_of(path: Path) -> Any:
    import coremltools as ct

    return ct.models.MLModel(str(path), skip_model_load=True).get_spec()


def mil_operations(path: Path) -> list[Any]:
    """Read the operations of a saved package with their values, without constants."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
    assert list(program.functions) == ["main"]
    return [op for op in program.functions["main"].operations if op.op_type != "const"]


def float_types(op: Any) -> set[str]:
    """The floating-point types of an operation's outputs."""
    from coremltools.converters.mil.mil import types

    tensors = [value.dtype for value in op.outputs if not types.is_dict(value.sym_type)]
    return {types.builtin_to_string(dtype) for dtype in tensors if types.is_float(dtype)}


def coreml_faults(operations: list[Any], precision: str) -> list[str]:
    """List the structural faults of a Core ML program."""
    faults = []
    for op in operations:
        for_classify = bool(op.outputs[0].child_ops) and all(u.op_type == "classify" for u in op.outputs[0].child_ops)
        wanted = "fp32" if op.op_type == "cast" and for_classify else precision
        if op.op_type in ("transpose", "batch_norm", "instance_norm", "pow", "rsqrt", "sqrt", "square", "real_div"):
            faults.append(op.op_type)
        if op.op_type == "layer_norm" and (list(op.axes.val) != [1] or len(op.x.shape) != 4):
            faults.append(f"layer_norm over {list(op.axes.val)} of {op.x.shape}")
        if not float_types(op) <= {wanted}:
            faults.append(f"{op.op_type} {op.name} is {float_types(op)}")
        if op.op_type == "reshape" and not is_view(tuple(op.x.shape), tuple(op.outputs[0].shape)):
            faults.append(f"reshape {op.name}: {op.x.shape} to {op.outputs[0].shape}")
    return faults


@pytest.mark.parametrize(("name", "size"), CONVERTED)
def test_coreml_structure(tmp_path: Path, workshop: Workshop, name: str, size: Size) -> None:
    """A logits model has an image input, and only the input is cast."""
    built = workshop.fresh(published(name), target_of("coreml", size, "fp16"), tmp_path / "m.mlpackage")
    operations, found, variant = mil_operations(built.path), structure(built), PUBLISHED[name]
    assert coreml_faults(operations, "fp16") == []
    assert found.operations == Counter(op.op_type for op in operations)
    assert (found.transposes, found.batch_norms) == (0, 0)
    assert found.operations["layer_norm"] == layer_norms(variant)
    assert found.operations["reduce_mean"] == 4 + 2  # pooling before the heads and in the down-samplings, none in norms
    assert found.operations["conv"] == convolutions(variant)
    assert found.operations["reshape"] == views(variant)
    assert found.operations["cast"] == 1
    (cast,) = [op for op in operations if op.op_type == "cast"]
    assert cast.x.name == "image"
    assert_image_of(spec_of(built.path), size)


def assert_image_of(spec: Any, size: Size) -> None:
    from coremltools.proto import FeatureTypes_pb2

    assert spec.WhichOneof("Type") == "mlProgram"
    assert spec.specificationVersion == 7  # iOS 16
    (image,) = spec.description.input
    assert image.name == "image"
    assert (image.type.imageType.height, image.type.imageType.width) == size
    assert image.type.imageType.colorSpace == FeatureTypes_pb2.ImageFeatureType.RGB


@pytest.mark.parametrize(("precision", "casts"), [("fp16", 2), ("fp32", 0)])
def test_coreml_classifier(workshop: Workshop, precision: str, casts: int) -> None:
    """A classifier has an image input and all labels in order; ``classify`` requires fp32 by its specification."""
    target = target_of("coreml", (64, 96), precision, output="probabilities")
    built = workshop.build(tiny(0, "probabilities"), target)
    operations, spec = mil_operations(built.path), spec_of(built.path)
    assert coreml_faults(operations, precision) == []
    assert Counter(op.op_type for op in operations)["cast"] == casts
    assert_image_of(spec, (64, 96))
    assert (spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName) == (
        "classLabel",
        "classLabel_probs",
    )
    classify = operations[-1]
    assert classify.op_type == "classify"
    assert tuple(classify.inputs["classes"].val) == target.labels
    softmax = classify.inputs["probabilities"].op
    softmax = softmax.x.op if softmax.op_type == "cast" else softmax
    assert softmax.op_type == "softmax"  # Core ML does not append a softmax
    assert built.contract.inputs == (
        TensorSpec(name="image", shape=(1, 3, 64, 96), dtype="image", layout="RGB", range=(0.0, 255.0)),
    )
    assert [(output.name, output.dtype, output.shape) for output in built.contract.outputs] == [
        ("classLabel", "string", ()),
        ("classLabel_probs", "dictionary", (CLASSES,)),
    ]


@pytest.mark.parametrize(
    ("output", "batch", "preprocess", "precision"),
    [
        ("features", 1, True, "fp16"),
        ("logits", 1, False, "fp16"),
        ("probabilities", 3, True, "fp16"),
        ("features", 3, False, "fp32"),
    ],
)
def test_coreml_array_inputs_and_outputs(
    workshop: Workshop, output: str, batch: int, preprocess: bool, precision: str
) -> None:
    """Other models than classifiers output arrays, float16 in fp16; a batch or a tensor is an array input."""
    target = target_of("coreml", (64, 96), precision, batch, output, preprocess)
    graph = tiny(0, output, preprocess)
    built = workshop.build(graph, target)
    assert coreml_faults(mil_operations(built.path), precision) == []
    (image,) = built.contract.inputs
    as_image = preprocess and batch == 1
    assert (image.dtype, image.layout) == (("image", "RGB") if as_image else ("float32", "NCHW"))
    assert image.shape == (batch, 3, 64, 96)
    assert image.range == ((0.0, 255.0) if preprocess else None)
    expected = evaluate(graph, pixels(0, 64, 96, batch))
    found = {spec.name: (spec.shape, spec.dtype) for spec in built.contract.outputs}
    dtype = {"fp16": "float16", "fp32": "float32"}[precision]
    assert found == {name: (tuple(value.shape), dtype) for name, value in expected.items()}


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", np.float16), ("fp32", np.float32)])
def test_coreml_weights_match_the_rewritten_graph(workshop: Workshop, precision: str, dtype: Any) -> None:
    """Every weight of the program is the graph's, rounded once through float32, at its own operation."""
    graph = tiny(1)
    built = workshop.build(graph, target_of("coreml", (64, 96), precision))
    suffix = "_cast_fp16" if precision == "fp16" else ""
    operations = {op.outputs[0].name.removesuffix(suffix): op for op in mil_operations(built.path)}
    roles = {"kernel": "weight", "bias": "bias"}
    compared = 0
    for node in graph.nodes:
        name = next((name for name, value in graph.outputs.items() if value == node.name), node.name)
        for role, array in node.weights.items():
            port = "y" if node.op in ("scale", "shift") else roles[role]
            found = operations[name.replace(".", "_")].inputs[port].val
            assert found.dtype == dtype, (node.name, role)
            expected = array.astype(np.float32).astype(dtype)
            assert np.array_equal(found.ravel(), expected.ravel()), (node.name, role)
            compared += 1
    assert compared > 60


@pytest.mark.parametrize(
    ("output", "batch", "precision"),
    [("probabilities", 1, "fp16"), ("probabilities", 3, "fp32"), ("features", 1, "fp16"), ("logits", 1, "fp32")],
)
def test_skipped_coremltools_passes_do_not_change_the_package(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, batch: int, precision: str
) -> None:
    """The package has the same bytes as with the default pass pipeline."""
    import coremltools as ct

    from evim_deploy.formats.coreml import model_path, read_spec

    graph, target = tiny(0, output), target_of("coreml", (64, 96), precision, batch, output)
    ours = workshop.build(graph, target).path
    whole = ct.PassPipeline()
    monkeypatch.setattr(ct, "PassPipeline", lambda *_: whole)
    other = workshop.fresh(graph, target, tmp_path / "whole.mlpackage").path
    assert len(whole.passes) > 80
    programs = [read_spec(path).SerializeToString(deterministic=True) for path in (ours, other)]
    assert programs[0] == programs[1]
    weights = [model_path(path).with_name("weights") / "weight.bin" for path in (ours, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_package_has_default_file_modes(workshop: Workshop) -> None:
    """coremltools leaves the modes of temporary files; the exporter sets the modes of plain files and folders."""
    path = workshop.build(tiny(0), target_of("coreml", (64, 96))).path
    for member in path.rglob("*"):
        model = path if member.is_dir() else path / "Manifest.json"
        assert stat.filemode(member.stat().st_mode) == stat.filemode(model.stat().st_mode), member


def test_coreml_faults_detects_a_bad_program(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    def program(image: Any) -> Any:
        x = mb.batch_norm(x=image, mean=np.zeros(8, np.float32), variance=np.full(8, 2, np.float32))
        x = mb.relu(x=mb.transpose(x=x, perm=[0, 1, 3, 2]))
        x = mb.layer_norm(x=mb.reshape(x=x, shape=[1, 8, 24]), axes=[1], epsilon=1e-5)
        return mb.relu(x=mb.reshape(x=x, shape=[1, 24, 8]), name="logits")

    image = mb.TensorSpec(shape=(1, 8, 4, 6), dtype=types.fp32)
    model = ct.convert(
        mb.program(input_specs=[image], opset_version=ct.target.iOS16)(program),
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "bad.mlpackage"))
    operations = mil_operations(tmp_path / "bad.mlpackage")
    wrong = coreml_faults(operations, "fp32")
    assert {fault.split()[0] for fault in wrong} == {"batch_norm", "transpose", "layer_norm", "reshape"}
    assert len([fault for fault in coreml_faults(operations, "fp16") if "is {'fp32'}" in fault]) == len(operations)


# --- outputs ----------------------------------------------------------------------------------------------

TOLERANCE = {"fp32": 2e-5, "fp16": 1e-2}

SMALL_SIZES = ((64, 64), (47, 47), (96, 33), (32, 80))


def assert_numbers(
    workshop: Workshop,
    seed: int,
    target: Target,
    sizes: tuple[Size, ...] = (),
    batches: tuple[int, ...] = (),
    distilled: bool = False,
) -> None:
    """Compare an artifact with its own graph in float64 and with the reference before rewriting."""
    graph = tiny(seed, target.output, target.preprocess, distilled)
    built = workshop.build(graph, target)
    for height, width in sizes or ((target.height or 0, target.width or 0),):
        for batch in batches or (target.batch or 0,):
            image = pixels(seed, height, width, batch)
            given = image if target.preprocess else normalise(image)
            actual = built.run(given)
            assert gap(actual, evaluate(graph, given)) < TOLERANCE[target.precision]
            assert (
                gap(actual, reference(tiny_model(seed, distilled), normalise(image), target.output))
                < (TOLERANCE[target.precision])
            )


def reference(model: EfficientViM, image: Tensor, output: str) -> dict[str, Tensor]:
    with torch.no_grad():
        if output == "features":
            return dict(zip(FEATURE_OUTPUTS, model.features(image), strict=True))
        logits = model(image)
        return {output: torch.softmax(logits, 1) if output == "probabilities" else logits}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SMALL_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("preprocess", [True, False], ids=["pixels", "tensor"])
@pytest.mark.parametrize("output", ["logits", "probabilities", "features"])
@pytest.mark.parametrize("precision", UNQUANTISED)
def test_onnx_outputs_match_graph_and_reference(
    workshop: Workshop, precision: str, output: str, preprocess: bool, size: Size, batch: int
) -> None:
    seed = SMALL_SIZES.index(size)
    assert_numbers(workshop, seed, target_of("onnx", size, precision, batch, output, preprocess), distilled=batch == 3)


@pytest.mark.parametrize(
    ("precision", "output", "preprocess", "size", "batch", "distilled"),
    [
        ("fp32", "logits", True, (64, 64), 1, False),
        ("fp32", "probabilities", True, (47, 47), 3, True),
        ("fp32", "features", False, (96, 33), 1, False),
        ("fp32", "features", True, (32, 80), 3, False),
        ("fp32", "logits", False, (65, 129), 1, True),
        ("fp16", "probabilities", False, (32, 80), 1, False),
        ("fp16", "features", True, (47, 47), 1, False),
        ("fp16", "logits", True, (96, 33), 3, True),
    ],
)
@pytest.mark.parametrize("format_", ["tflite", "coreml"])
def test_fixed_shape_outputs_match_graph_and_reference(
    workshop: Workshop,
    format_: str,
    precision: str,
    output: str,
    preprocess: bool,
    size: Size,
    batch: int,
    distilled: bool,
) -> None:
    target = target_of(format_, size, precision, batch, output, preprocess)
    assert_numbers(workshop, sum(size) + batch, target, distilled=distilled)


@pytest.mark.parametrize("output", ["logits", "probabilities", "features"])
@pytest.mark.parametrize("precision", UNQUANTISED)
def test_onnx_with_dynamic_size_and_batch(workshop: Workshop, precision: str, output: str) -> None:
    target = target_of("onnx", (None, None), precision, None, output)
    assert_numbers(workshop, 5, target, sizes=(*SMALL_SIZES, (63, 97)), batches=(1, 4))


@pytest.mark.parametrize(
    ("size", "batch", "sizes", "batches"),
    [((64, 47), None, ((64, 47),), (1, 2, 5)), ((None, None), 2, ((64, 64), (33, 96)), (2,))],
    ids=["batch", "resolution"],
)
def test_onnx_with_dynamic_size_or_batch(
    workshop: Workshop, size: tuple[int | None, int | None], batch: int | None, sizes: tuple[Size, ...], batches: Any
) -> None:
    for output in ("logits", "features"):
        assert_numbers(workshop, 6, target_of("onnx", size, batch=batch, output=output), sizes, batches)


def test_dynamic_reshapes_are_views(tmp_path: Path, workshop: Workshop) -> None:
    """The shapes are read at run time, because shape inference cannot determine them."""
    import onnx
    import onnxruntime

    model = onnx.load(workshop.build(tiny(0), target_of("onnx", (None, None), batch=None)).path)
    reshapes = [node for node in model.graph.node if node.op_type == "Reshape"]
    watched = [value for node in reshapes for value in (node.input[0], node.output[0])]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in dict.fromkeys(watched))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = pixels(0, 47, 80, batch=3).float().numpy()
    found = dict(zip(watched, session.run(watched, {"image": image}), strict=True))
    assert len(reshapes) == 27
    for node in reshapes:
        before, after = found[node.input[0]], found[node.output[0]]
        assert is_view(before.shape, after.shape)
        assert np.array_equal(before.ravel(), after.ravel())


def test_dynamic_axes_are_named(workshop: Workshop) -> None:
    target = target_of("onnx", (None, None), batch=None, output="features")
    contract = workshop.build(tiny(0, "features"), target).contract
    assert contract.inputs == (
        TensorSpec(
            name="image", shape=("batch", 3, "height", "width"), dtype="float32", layout="NCHW", range=(0.0, 255.0)
        ),
    )
    assert [spec.shape[2:] for spec in contract.outputs] == [
        (f"height/{stride}", f"width/{stride}") for stride in (16, 32, 64)
    ]


@pytest.mark.parametrize("format_", ["coreml", "tflite"])
@pytest.mark.parametrize(("size", "batch"), [((None, None), 1), ((64, 64), None)])
def test_formats_with_fixed_shapes_reject_dynamic_shapes(
    tmp_path: Path, format_: str, size: Any, batch: int | None
) -> None:
    row = exporters.FORMATS[format_]
    with pytest.raises(ValueError, match="fixed shapes"):
        exporters.load(row).build(tiny(0), target_of(format_, size, batch=batch), tmp_path / f"m{row.suffix}")
    assert list(tmp_path.iterdir()) == []


def test_changed_weights_exceed_the_tolerance(workshop: Workshop) -> None:
    """A change of 1 % in the weights of one convolution is detected."""
    graph = tiny(0)
    node = next(node for node in graph.nodes if node.op == "conv")
    changed = graph.copy()
    changed.substitute(node, node.with_weights(kernel=node.weights["kernel"] * 1.01))
    image = pixels(0, 64, 64)
    built = workshop.build(changed, target_of("onnx", (64, 64)))
    assert gap(built.run(image), evaluate(graph, image)) > 3 * TOLERANCE["fp32"]


# --- comparison with onnx2tf ------------------------------------------------------------------------------


@slow
@needs_onnx2tf
def test_onnx2tf_gives_the_same_outputs(tmp_path: Path, workshop: Workshop) -> None:
    """The ONNX file converted by onnx2tf has the outputs of our own TFLite file.

    onnx2tf identifies axes by their lengths, so all lengths in this network differ.
    """
    from ai_edge_litert.interpreter import Interpreter

    from exporters.tflite import torch_module as tflite

    size = (112, 176)
    source = workshop.build(second_opinion(), target_of("onnx", size))
    ours = workshop.build(second_opinion(), target_of("tflite", size))
    shutil.copy(source.path, tmp_path / "model.onnx")
    interpreter = Interpreter(model_content=tflite.converted(tmp_path))
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for seed in range(3):
        image = pixels(seed, *size)
        interpreter.set_tensor(given["index"], image.permute(0, 2, 3, 1).float().numpy())
        interpreter.invoke()
        theirs = torch.from_numpy(interpreter.get_tensor(result["index"]).copy()).double()
        assert gap({"logits": theirs}, ours.run(image)) < TOLERANCE["fp32"]


@functools.cache
def second_opinion() -> Graph:
    """A graph whose maps at 112x176 are 7x11, 4x6 and 2x3."""
    variant = Variant(name="distinct", depths=(1, 1, 1), channels=(16, 40, 56), states=(13, 9, 5), resolution=64)
    return reparameterise(lower(random_network(variant, 3, 17), "classify", "logits", True))[0]


# --- metadata ---------------------------------------------------------------------------------------------

METADATA = {
    METADATA_KEY: '{"model": "efficientvim_m1", "note": "Größe ✓"}',
    LABELS_KEY: json.dumps([f"class {i}" for i in range(999)]),
}


@pytest.fixture
def annotated(tmp_path: Path, workshop: Workshop, request: pytest.FixtureRequest) -> tuple[str, Built]:
    format_ = request.param
    built = workshop.fresh(
        tiny(0), target_of(format_, (64, 96)), tmp_path / f"artifact{exporters.FORMATS[format_].suffix}"
    )
    exporter = exporters.load(exporters.FORMATS[format_])
    before = structure(built)
    exporter.annotate(
        built.path, {**METADATA, METADATA_KEY: "an older one"}, replace(FACTS, model=MODELS["efficientvim_m4"])
    )
    exporter.annotate(built.path, METADATA, FACTS)
    assert structure(built) == before
    return format_, built


def description_of(path: Path) -> str:
    if path.suffix == ".onnx":
        import onnx

        return str(onnx.load(path).doc_string)
    if path.suffix == ".tflite":
        return str(tflite_model(path).description.decode())
    return str(spec_of(path).description.metadata.shortDescription)


@pytest.mark.parametrize("annotated", exporters.FORMATS, indirect=True)
def test_description_is_in_the_artifact(annotated: tuple[str, Built]) -> None:
    assert description_of(annotated[1].path) == describe_artifact(FACTS).description


@pytest.mark.parametrize("annotated", ["onnx", "tflite"], indirect=True)
def test_engine_reads_the_metadata(annotated: tuple[str, Built]) -> None:
    with runtimes.open_artifact(annotated[1].path) as session:
        assert dict(session.metadata) == METADATA


@pytest.mark.parametrize("annotated", ["coreml"], indirect=True)
def test_coreml_session_reads_the_metadata(annotated: tuple[str, Built]) -> None:
    from runtimes.coreml import CoremlSession

    spec, texts = spec_of(annotated[1].path), describe_artifact(FACTS)
    shown = spec.description.metadata
    assert METADATA.items() <= dict(shown.userDefined).items()
    assert (shown.author, shown.license, shown.versionString) == (texts.author, texts.licence, texts.version)
    assert spec.description.input[0].shortDescription == texts.ports["image"]
    session = CoremlSession(annotated[1].path, SimpleNamespace(get_spec=lambda: spec))
    assert METADATA.items() <= session.metadata.items()


@pytest.mark.parametrize("annotated", ["tflite"], indirect=True)
def test_tflite_metadata_names_are_unique(annotated: tuple[str, Built]) -> None:
    names = [entry.name.decode() for entry in tflite_model(annotated[1].path).metadata]
    assert len(names) == len(set(names))
    assert {METADATA_KEY, LABELS_KEY} <= set(names)


@pytest.mark.parametrize("annotated", exporters.FORMATS, indirect=True)
def test_annotating_preserves_outputs(annotated: tuple[str, Built], workshop: Workshop) -> None:
    format_, built = annotated
    image = pixels(0, 64, 96)
    plain = workshop.build(tiny(0), target_of(format_, (64, 96)))
    assert torch.equal(built.run(image)["logits"], plain.run(image)["logits"])


# --- table of formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("coreml", "coreml"),
        ("ios", "coreml"),
        ("mlpackage", "coreml"),
        ("ONNX", "onnx"),
        ("LiteRT", "tflite"),
        ("tflite", "tflite"),
    ],
)
def test_format_is_parsed_from_name_or_alias(text: str, name: str) -> None:
    assert exporters.parse_format(text) is exporters.FORMATS[name]


def test_unknown_format_error_lists_the_formats() -> None:
    with pytest.raises(UsageProblem, match=r"'pdf'(.|\n)*coreml, ios, mlpackage, onnx, tflite, litert"):
        exporters.parse_format("pdf")


@pytest.mark.parametrize("name", exporters.FORMATS)
def test_missing_package_error_has_the_pip_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    row = exporters.FORMATS[name]
    exporters.require(row)
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(NotInstalled) as caught:
        exporters.require(row)
    assert row.requires[0] in caught.value.cause
    assert caught.value.remedy == f'pip install "evim-deploy[{row.extra}]"'


@pytest.mark.parametrize("name", exporters.FORMATS)
def test_every_format_has_an_engine_and_the_exporter_functions(name: str) -> None:
    row = exporters.FORMATS[name]
    assert runtimes.engines_of(row.suffix)
    module = exporters.load(row)
    assert all(callable(getattr(module, verb)) for verb in ("build", "annotate"))
