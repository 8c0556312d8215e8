"""ONNX files in int8 and dynamic: integer operations in both engines, and outputs of the simulated graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from networks import random_tiny
from onnx import numpy_helper

import exporters.onnx.graph as exporter
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.common.errors import BadInput
from evim_deploy.formats.onnx_names import SCALE
from evim_deploy.graph.interpreter import evaluate, fake_quantise
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.ops import infer_shapes
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.operations.alignment import align
from evim_deploy.proof.operations.arithmetic import apply
from evim_deploy.proof.stored_weights import compare_weights
from evim_deploy.quantise.calibration import calibrate
from evim_deploy.quantise.calibration_images import PHOTOGRAPHS, CalibrationImages
from evim_deploy.quantise.placement import quantised_values
from evim_deploy.quantise.quantise_graph import quantise_graph
from evim_deploy.quantise.schemes import SCHEMES
from runtimes import onnxruntime as runtime

SIDE = 64
ROUNDINGS = 3e-5  # relative to the range of the logits: float32 sums in another order, as in the tolerances
NEAR_A_TIE = (
    1e-3  # quantisation steps; float32 sums in another order differ by less, and a value this near may round either way
)

Array = np.ndarray[Any, Any]


def target(precision: str, **changes: Any) -> Target:
    made = Target(
        format="onnx",
        precision=precision,
        height=SIDE,
        width=SIDE,
        batch=None,
        task="classify",
        output="logits",
        preprocess=True,
        labels=(),
    )
    return replace(made, quantisation=Quantisation(), **changes)


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return GraphReference(model=random_tiny(0).float(), weights=Weights("random:0", False, ""))


@pytest.fixture(scope="module")
def images() -> Array:
    found = CalibrationImages(source=PHOTOGRAPHS, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=True)
    return np.concatenate(list(found)).astype(np.float32)


@pytest.fixture(scope="module")
def graphs(reference: GraphReference, images: Array) -> dict[str, Graph]:
    """The simulated graph of each precision."""
    found = {}
    for precision in ("int8", "dynamic"):
        scheme, graph = SCHEMES["onnx", precision], reference.inference(target(precision))
        qparams = calibrate(graph, scheme, (image[None] for image in images), pixels=True)
        found[precision] = quantise_graph(graph, scheme, qparams)
    return found


@pytest.fixture(scope="module")
def files(graphs: dict[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantised")
    paths = {precision: folder / f"{precision}.onnx" for precision in graphs}
    for precision, path in paths.items():
        exporter.build(graphs[precision], target(precision), path)
    return paths


def answer(path: Path, images: Array, mode: str) -> Array:
    with runtime.open_session(path, mode) as session:
        return session.run(images)["logits"]


def simulated(graph: Graph, images: Array) -> Array:
    return np.concatenate([evaluate(graph, torch.from_numpy(image[None]))["logits"].numpy() for image in images])


def noise(found: Array, expected: Array) -> float:
    """Root mean square of the difference, relative to the range of the expected values."""
    return float(np.sqrt(np.square(found - expected).mean()) / np.ptp(expected))


def operations(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def weighted(graph: Graph, op: str = "conv") -> int:
    return sum(node.op == op for node in graph.nodes)


def wrong(graph: Graph, path: Path, images: Array) -> list[str]:
    """Operations whose outputs differ from the graph's, computed from the file's own inputs.

    A quantised value near a tie may differ by one step.
    """
    trace = runtime.trace(path, images, "fp32")
    shapes = infer_shapes(graph, images.shape)
    rows = align(graph, trace.operations, shapes).matched
    last = {row.operations[-1]: name for name, row in rows.items()}
    nodes = {node.name: node for node in graph.nodes}
    values = fake_quantise({graph.input_name: torch.from_numpy(images.astype(np.float64))}, graph.qparams)
    found = []
    for index, arrays in trace.compute(dict.fromkeys(sorted(last), 0)):
        node = nodes[last[index]]
        exact = dict(zip(node.outputs, apply(node, [values[name] for name in node.inputs]), strict=True))
        given = {
            name: torch.from_numpy(array.astype(np.float64)).reshape(exact[name].shape)
            for name, array in zip(node.outputs, arrays, strict=True)
        }
        if any(_differs(graph, name, exact[name], given[name]) for name in node.outputs):
            found.append(node.name)
        values.update(given)
    return found


def _differs(graph: Graph, name: str, exact: torch.Tensor, given: torch.Tensor) -> bool:
    grid = graph.qparams.get(name)
    if grid is None:
        return bool((given - exact).abs().max() > ROUNDINGS * exact.abs().max())
    beyond = (given - exact.clamp(*grid.range)).abs() / grid.scale - 0.5
    whole = given / grid.scale
    return bool((beyond > NEAR_A_TIE).any() or ((whole - whole.round()).abs() > NEAR_A_TIE).any())


def changed(path: Path, name: str, change: Any, folder: Path) -> Path:
    """Write a copy of the file with one constant changed."""
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == name)
    array = numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(numpy_helper.from_array(change(array), name))
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def one_more(codes: Array) -> Array:
    """Move the largest integer of a kernel one step towards 0."""
    at = np.unravel_index(np.abs(codes.astype(int)).argmax(), codes.shape)
    codes[at] -= np.sign(codes[at])
    return codes


class TestInt8:
    def test_every_convolution_and_matrix_product_has_quantised_inputs(
        self, graphs: dict[str, Graph], files: dict[str, Path]
    ) -> None:
        model = onnx.load(files["int8"])
        by = {name: node for node in model.graph.node for name in node.output}
        constants = {each.name: each for each in model.graph.initializer}

        def root(name: str) -> Any:
            node = by[name]
            return root(node.input[0]) if node.op_type in ("Reshape", "Split") else node

        seen = 0
        for node in model.graph.node:
            if node.op_type in ("Conv", "Gemm") or (node.op_type == "MatMul" and f"{node.output[0]}".endswith("proj")):
                assert [root(name).op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
                assert constants[by[node.input[1]].input[0]].data_type == onnx.TensorProto.INT8
                seen += 1
        assert seen >= weighted(graphs["int8"]) + 1

    def test_onnx_runtime_computes_every_convolution_in_integers(
        self, graphs: dict[str, Graph], files: dict[str, Path], tmp_path: Path
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(str(files["int8"]), options, providers=["CPUExecutionProvider"])
        counts = operations(onnx.load(tmp_path / "optimised.onnx"))
        assert counts["Conv"] == counts["FusedConv"] == 0
        assert counts["QLinearConv"] == weighted(graphs["int8"])
        assert counts["MatMulIntegerToFloat"] == sum(
            node.op == "pointwise_conv" and "kernel" in node.encodings for node in graphs["int8"].nodes
        )
        assert counts["QGemm"] == 1
        assert counts["QLinearAdd"] == sum(
            node.op == "add" and node.name in graphs["int8"].qparams for node in graphs["int8"].nodes
        )

    def test_openvino_computes_every_convolution_in_integers(
        self, graphs: dict[str, Graph], files: dict[str, Path]
    ) -> None:
        openvino = pytest.importorskip("openvino")
        model = openvino.Core().read_model(str(files["int8"]))
        model.reshape([1, 3, SIDE, SIDE])
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        types = [
            op.get_rt_info()["primitiveType"].astype(str)
            for op in compiled.get_runtime_model().get_ops()
            if "Convolution" in op.get_rt_info()["layerType"].astype(str)
        ]
        assert len(types) >= weighted(graphs["int8"])
        assert [each for each in types if not each.lower().endswith(("_i8", "_u8"))] == []

    def test_every_operation_matches_the_simulated_graph(
        self, graphs: dict[str, Graph], files: dict[str, Path], images: Array
    ) -> None:
        assert wrong(graphs["int8"], files["int8"], images) == []

    @pytest.mark.parametrize(
        ("constant", "change"),
        [
            ("stages.0.blocks.0.ffn.fc1.conv.kernel", one_more),
            ("stages.1.blocks.0.mixer.hz_proj.kernel", one_more),
            (f"stages.0.blocks.0.ffn.fc1.conv.kernel{SCALE}", lambda scale: scale * np.float32(1.01)),
            ("stages.0.blocks.0.ffn.relu/scale", lambda scale: scale * np.float32(1.01)),
        ],
    )
    def test_one_changed_integer_or_scale_is_located(
        self,
        graphs: dict[str, Graph],
        files: dict[str, Path],
        images: Array,
        tmp_path: Path,
        constant: str,
        change: Any,
    ) -> None:
        layer = constant.partition("/")[0].removesuffix(SCALE).removesuffix(".kernel")
        assert wrong(graphs["int8"], changed(files["int8"], constant, change, tmp_path), images) == [layer]

    def test_outputs_match_the_simulated_graph_within_quantisation_noise(
        self, graphs: dict[str, Graph], files: dict[str, Path], images: Array, reference: GraphReference
    ) -> None:
        """Engines round products at other points, too; the error stays below twice the quantisation noise."""
        expected = simulated(graphs["int8"], images)
        allowed = 2 * noise(expected, simulated(reference.rewritten(target("int8"))[0], images))
        assert noise(answer(files["int8"], images, "fp16"), expected) < allowed
        assert noise(_openvino(files["int8"], images), expected) < allowed

    def test_float_layer_keeps_float_weights(
        self, reference: GraphReference, graphs: dict[str, Graph], images: Array, tmp_path: Path
    ) -> None:
        kept = "stages.0.blocks.0.ffn.fc2.conv"
        scheme, exact, qparams = SCHEMES["onnx", "int8"], reference.inference(target("int8")), graphs["int8"].qparams
        graph = quantise_graph(
            exact, scheme, {name: qparams[name] for name in quantised_values(exact, scheme, [kept])}, [kept]
        )
        exporter.build(graph, target("int8"), tmp_path / "kept.onnx")
        types = {each.name: each.data_type for each in onnx.load(tmp_path / "kept.onnx").graph.initializer}
        assert types[f"{kept}.kernel"] == onnx.TensorProto.FLOAT
        assert wrong(graph, tmp_path / "kept.onnx", images) == []

    def test_operator_set_without_an_integer_engine_is_rejected(self) -> None:
        with pytest.raises(BadInput, match="Operator set 23 is not supported in int8"):
            plan_targets(Request(model=parse_model("m1"), formats=("onnx",), precisions=("fp32", "int8"), opset=23))

    @pytest.mark.parametrize("version", [13, 17, 22])
    def test_every_operator_set_gives_the_same_outputs(
        self, graphs: dict[str, Graph], files: dict[str, Path], images: Array, tmp_path: Path, version: int
    ) -> None:
        exporter.build(graphs["int8"], target("int8", opset=version), tmp_path / "old.onnx")
        assert np.array_equal(answer(tmp_path / "old.onnx", images, "fp16"), answer(files["int8"], images, "fp16"))

    def test_feature_maps_have_their_names(self, reference: GraphReference, images: Array, tmp_path: Path) -> None:
        maps = replace(target("int8"), task="features", output="features")
        scheme, graph = SCHEMES["onnx", "int8"], reference.inference(maps)
        graph = quantise_graph(graph, scheme, calibrate(graph, scheme, (image[None] for image in images), pixels=True))
        exporter.build(graph, maps, tmp_path / "maps.onnx")
        with runtime.open_session(tmp_path / "maps.onnx", "fp16") as session:
            assert session.run(images[:1]).keys() == graph.outputs.keys()


class TestDynamic:
    def test_all_products_except_depthwise_convolutions_are_in_integers(
        self, graphs: dict[str, Graph], files: dict[str, Path]
    ) -> None:
        counts = operations(onnx.load(files["dynamic"]))
        depthwise = sum(node.is_depthwise for node in graphs["dynamic"].nodes)
        assert counts["Conv"] == depthwise
        assert counts["ConvInteger"] == weighted(graphs["dynamic"]) - depthwise
        assert counts["MatMulInteger"] == weighted(graphs["dynamic"], "pointwise_conv") + 1
        assert counts["DynamicQuantizeLinear"] == counts["ConvInteger"] + counts["MatMulInteger"]

    def test_outputs_without_dynamic_quantisation_match_the_graph(
        self, graphs: dict[str, Graph], files: dict[str, Path], images: Array, tmp_path: Path
    ) -> None:
        expected = simulated(graphs["dynamic"], images)
        found = answer(files["dynamic"], images, "fp32")
        assert np.abs(found - expected).max() < ROUNDINGS * np.ptp(expected)
        worse = changed(files["dynamic"], "stages.0.blocks.0.ffn.fc1.conv.kernel", _one_less, tmp_path)
        assert np.abs(answer(worse, images, "fp32") - expected).max() > ROUNDINGS * np.ptp(expected)

    def test_dynamic_quantisation_adds_little_noise(
        self, graphs: dict[str, Graph], files: dict[str, Path], images: Array
    ) -> None:
        expected = simulated(graphs["dynamic"], images)
        assert 0 < noise(answer(files["dynamic"], images, "fp16"), expected) < 0.05
        assert 0 < noise(_openvino(files["dynamic"], images), expected) < 0.05


@pytest.mark.parametrize("precision", ["int8", "dynamic"])
class TestStored:
    def test_stored_weights_match_the_graph(
        self, graphs: dict[str, Graph], files: dict[str, Path], precision: str
    ) -> None:
        graph = graphs[precision]
        stored = compare_weights(graph, runtime.read_operations(files[precision], "fp16"))
        assert (stored.changed, stored.compared) == ((), sum(len(node.weights) for node in graph.nodes))

    def test_one_changed_integer_is_detected(
        self, graphs: dict[str, Graph], files: dict[str, Path], precision: str, tmp_path: Path
    ) -> None:
        name = "stages.0.blocks.0.ffn.fc2.conv.kernel"
        other = changed(files[precision], name, one_more if precision == "int8" else _one_less, tmp_path)
        stored = compare_weights(graphs[precision], runtime.read_operations(other, "fp16"))
        assert [each.partition(",")[0] for each in stored.changed] == [name.removesuffix(".kernel")]

    def test_every_operation_aligns_with_the_graph(
        self, graphs: dict[str, Graph], files: dict[str, Path], precision: str
    ) -> None:
        graph = graphs[precision]
        shapes: Mapping[str, Any] = infer_shapes(graph, (1, 3, SIDE, SIDE))
        found = align(graph, runtime.read_operations(files[precision], "fp16"), shapes)
        assert (found.unmatched, len(found.matched)) == ((), len(graph.nodes))


def _one_less(codes: Array) -> Array:
    codes.flat[0] -= codes.dtype.type(1)
    return codes


def _openvino(path: Path, images: Array) -> Array:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(str(path))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(images)[0])
