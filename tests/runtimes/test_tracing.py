"""Every tracing engine reports the operations of an artifact, the weights in its file, and the values computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from networks import pixels, tiny
from simulated import reference_of, target_of

import exporters
import runtimes
from evim_deploy.artifact.target import Target
from evim_deploy.artifact.trace import HALF, SINGLE, Trace
from evim_deploy.common.errors import BadInput, NotRunHere
from evim_deploy.graph.interpreter import run
from evim_deploy.networks.efficientvim.reference import GraphReference
from runtimes import litert, onnxruntime

Image = npt.NDArray[np.float32]

FORMATS = ("onnx", "tflite", "coreml")
COMBINATIONS = [(format_, precision) for format_ in FORMATS for precision in ("fp32", "fp16")]
SIZE = (96, 128)

# Nodes of the graph, one for each operation; in TFLite the ReLU and its convolution are one operation.
VALUES = {
    "preprocess.mean": "shift",
    "patch_embed.conv.1.relu": "relu",
    "stages.0.blocks.0.norm": "layer_norm",
    "stages.0.blocks.0.mixer.dw": "conv",
    "stages.0.blocks.0.mixer.B": "split",
    "stages.0.blocks.0.mixer.importance": "softmax_tokens",
    "stages.0.blocks.0.mixer.h_in": "state_update",
    "stages.0.blocks.0.mixer.h_in.sum": "sum_tokens",
    "stages.0.blocks.0.mixer.hz_proj": "pointwise_conv",
    "stages.0.blocks.0.mixer.y": "state_readout",
    "stages.1.downsample.conv.2.mean": "mean",
    "heads.3.sum.features": "concat",
    "logits": "linear",
}


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(tiny(3, depths=(1, 1, 1)))


@pytest.fixture(scope="module")
def image() -> Image:
    return pixels(0, *SIZE).round().float().numpy()


@pytest.fixture(scope="module")
def artifacts(reference: GraphReference, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    paths = {}
    for format_, precision in COMBINATIONS:
        row, target = exporters.FORMATS[format_], target_for(format_, precision)
        paths[format_, precision] = folder / f"{precision}{row.suffix}"
        exporters.load(row).build(reference.stored_form(target), target, paths[format_, precision])
    return paths


def target_for(format_: str, precision: str) -> Target:
    return target_of(format_, precision, size=SIZE)


def names_of(trace: Trace) -> dict[str, int]:
    """Return the index of the last operation with each name, with the separators of all formats unified."""
    return {name.replace(".", "_"): index for index, each in enumerate(trace.operations) for name in each.names}


def values_of(trace: Trace) -> dict[int, tuple[npt.NDArray[np.float32], ...]]:
    """Return the values of the operations in VALUES."""
    names = names_of(trace)
    indices = sorted(names[name.replace(".", "_")] for name in VALUES)
    return dict(trace.compute(dict.fromkeys(indices, 1)))


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_values_are_those_of_the_graph(
    reference: GraphReference, artifacts: dict[tuple[str, str], Path], image: Image, format_: str, precision: str
) -> None:
    """They have the names of the graph and are channels first, whatever the layout in the file."""
    graph = reference.stored_form(target_for(format_, precision))
    expected = run(graph, torch.from_numpy(image).double())
    trace = runtimes.trace(artifacts[format_, precision], image, mode="fp32")
    names, values = names_of(trace), values_of(trace)
    for name, op in VALUES.items():
        node = next(node for node in graph.nodes if name in (node.name, *_outputs(graph.outputs, node.name)))
        assert node.op == op
        found = values[names[name.replace(".", "_")]]
        assert len(found) == len(node.outputs)
        for array, output in zip(found, node.outputs, strict=True):
            reference_value = expected[output].numpy()
            assert array.dtype == np.float32
            assert [side for side in array.shape if side > 1] == [side for side in reference_value.shape if side > 1]
            gap = np.abs(array.reshape(reference_value.shape) - reference_value).max()
            assert gap <= 2e-5 * np.abs(reference_value).max(), name


def _outputs(outputs: Mapping[str, str], value: str) -> list[str]:
    return [name for name, each in outputs.items() if each == value]


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_weights_are_those_of_the_file_as_it_stores_them(
    reference: GraphReference, artifacts: dict[tuple[str, str], Path], image: Image, format_: str, precision: str
) -> None:
    dtype = {"fp32": np.float32, "fp16": np.float16}[precision]
    graph = reference.stored_form(target_for(format_, precision))
    for mode in runtimes.tracing_engine(artifacts[format_, precision]).modes:
        trace = runtimes.trace(artifacts[format_, precision], image, mode=mode)
        stored: dict[str, list[npt.NDArray[np.floating]]] = {}
        for operation in trace.operations:
            for name in operation.names:
                stored.setdefault(name.replace(".", "_"), []).extend(operation.weights)
        for node in graph.nodes:
            names = [name.replace(".", "_") for name in (node.name, *_outputs(graph.outputs, node.name))]
            arrays = [array for name in names for array in stored.get(name, [])]
            for array in node.weights.values():
                fitting = [each for each in arrays if each.size == array.size and each.dtype == dtype]
                assert any(np.array_equal(np.sort(each, None), np.sort(array.astype(dtype), None)) for each in fitting)


@pytest.mark.parametrize(("format_", "precision"), COMBINATIONS)
def test_operations_are_those_of_the_file_in_order(
    artifacts: dict[tuple[str, str], Path], image: Image, format_: str, precision: str
) -> None:
    path = artifacts[format_, precision]
    types = [operation.type for operation in runtimes.trace(path, image).operations]
    if format_ == "onnx":
        assert types == [node.op_type for node in onnx.load(path).graph.node]
    elif format_ == "tflite":
        model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        codes = [model.operatorCodes[each.opcodeIndex].builtinCode for each in model.subgraphs[0].operators]
        assert [getattr(schema.BuiltinOperator, each) for each in types] == codes
    else:
        from coremltools.proto import Model_pb2

        spec = Model_pb2.Model()
        spec.ParseFromString((path / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
        function = spec.mlProgram.functions["main"]
        operations = function.block_specializations[function.opset].operations
        assert types == [each.type for each in operations if each.type != "const"]


def test_values_are_in_the_order_of_computation(artifacts: dict[tuple[str, str], Path], image: Image) -> None:
    """The order of the values is the requested one, which is the order in the file."""
    for path in artifacts.values():
        trace = runtimes.trace(path, image)
        assert list(values_of(trace)) == sorted(names_of(trace)[name.replace(".", "_")] for name in VALUES)


# --- precision -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format_", "precision", "mode", "rounding", "accumulation"),
    [
        ("onnx", "fp32", "fp16", SINGLE, SINGLE),
        ("onnx", "fp16", "fp32", SINGLE, SINGLE),
        ("onnx", "fp16", "fp16", HALF, HALF),
        ("tflite", "fp32", "fp32", SINGLE, SINGLE),
        ("tflite", "fp16", "fp32", SINGLE, SINGLE),
        ("coreml", "fp32", "ane", SINGLE, SINGLE),
        ("coreml", "fp16", "fp32", SINGLE, SINGLE),
        ("coreml", "fp16", "fp16", HALF, SINGLE),
        ("coreml", "fp16", "ane", HALF, HALF),
    ],
)
def test_the_arithmetic_is_reported(
    artifacts: dict[tuple[str, str], Path],
    image: Image,
    format_: str,
    precision: str,
    mode: str,
    rounding: float,
    accumulation: float,
) -> None:
    """The values confirm it: in half precision every value is a float16."""
    trace = runtimes.trace(artifacts[format_, precision], image, mode=mode)
    index = names_of(trace)["stages_0_blocks_0_dwconv2_conv"]
    assert (trace.operations[index].rounding, trace.operations[index].accumulation) == (rounding, accumulation)
    ((_, (values,)),) = trace.compute({index: 1})
    is_half = np.array_equal(values, values.astype(np.float16).astype(np.float32))
    assert is_half == (rounding == HALF)


# --- memory ----------------------------------------------------------------------------------------------


def test_onnx_values_beyond_the_limit_are_computed_in_several_runs(
    artifacts: dict[tuple[str, str], Path], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = runtimes.trace(artifacts["onnx", "fp32"], image)
    asked = dict.fromkeys(range(len(trace.operations)), 400)
    together = dict(trace.compute(asked))

    loads: list[int] = []
    load = onnxruntime._load
    monkeypatch.setattr(onnxruntime, "_load", lambda *args, **options: loads.append(1) or load(*args, **options))
    monkeypatch.setattr(onnxruntime, "_TRACED_BYTES", 400 * 50)
    apart = dict(trace.compute(asked))
    assert len(loads) == -(-len(asked) // 50)
    assert list(apart) == list(together) == list(asked)
    for index, arrays in together.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, apart[index], strict=True))


def test_tflite_values_beyond_the_limit_are_refused(
    artifacts: dict[tuple[str, str], Path], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "_TRACED_BYTES", 1 << 20)
    with pytest.raises(BadInput, match=r"All values of .* take 0\.0 GiB at once") as caught:
        runtimes.trace(artifacts["tflite", "fp32"], image)
    assert "smaller resolution" in caught.value.remedy


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_artifact_is_refused(
    artifacts: dict[tuple[str, str], Path], image: Image, tmp_path: Path, format_: str
) -> None:
    path = tmp_path / f"damaged{exporters.FORMATS[format_].suffix}"
    if format_ == "coreml":
        (path / "Data").mkdir(parents=True)
        (path / "Manifest.json").write_text("{}")
    else:
        path.write_bytes(artifacts[format_, "fp32"].read_bytes()[:5000])
    with pytest.raises(BadInput, match="damaged"):
        runtimes.trace(path, image)


def test_core_ml_does_not_report_its_operations(
    artifacts: dict[tuple[str, str], Path], image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    path = artifacts["coreml", "fp16"]
    with pytest.raises(NotRunHere, match="coreml does not report the operations of"):
        runtimes.trace(path, image, runtimes.ENGINES["coreml"])
    assert runtimes.trace(path, image).operations  # by default in the evaluator, also on a Mac
