"""Options of an ONNX file: operator sets, dynamic sizes, float16 inputs and outputs, weights in a second file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import pytest
from networks import tiny
from onnx import helper
from simulated import FACTS, reference_of, target_of

import exporters.onnx.graph as exporter
import runtimes
from evim_deploy import formats
from evim_deploy.artifact.parity import Parity, ParityStatus
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request, plan_targets
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput
from evim_deploy.common.progress import Silent
from evim_deploy.common.publish import COMPANION_SUFFIX
from evim_deploy.formats import onnx_writer as onnx_file
from evim_deploy.images.photographs import NAMES
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.proof.outputs.checker import ParityChecker
from evim_deploy.proof.prove import prove
from exporters import FORMATS
from exporters.onnx.opsets import DEFAULT_OPSET, OPSETS

NATIVE = 64
SIDES = (80, 112)  # neither is a multiple of 64
OPEN = (None, None)

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def reference() -> GraphReference:
    return reference_of(tiny(0))


@pytest.fixture(scope="module")
def prover(reference: GraphReference) -> ParityChecker:
    return ParityChecker(reference, NATIVE)


def build(reference: GraphReference, target: Target, path: Path) -> Path:
    exporter.build(reference.rewritten(target)[0], target, path)
    return path


def proven(path: Path, target: Target, prover: ParityChecker) -> Parity:
    return prove(path, target, prover, Silent())


def photographs(batch: int, height: int, width: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (batch, 3, height, width)).astype(np.float32)


def by_onnxruntime(path: Path, image: Array) -> Array:
    with runtimes.open_artifact(path) as session:
        return session.run(image)["logits"]


def by_openvino(path: Path, image: Array) -> Array:
    precision = {"INFERENCE_PRECISION_HINT": "f32"}  # the default on some processors is bfloat16
    compiled = openvino.Core().compile_model(str(path), "CPU", precision)
    return np.array(compiled(image)[0], dtype=np.float32)


# --- operator sets ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def usual(reference: GraphReference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(reference, target_of(size=OPEN, batch=None), tmp_path_factory.mktemp("usual") / "m.onnx")


def test_format_table_lists_the_supported_operator_sets() -> None:
    assert sorted(FORMATS["onnx"].opsets) == list(OPSETS)
    assert FORMATS["onnx"].opsets[0] == DEFAULT_OPSET


@pytest.mark.parametrize("version", OPSETS)
def test_operator_set_has_the_ir_version_of_its_release(version: int) -> None:
    came_with = min(row[1] for row in helper.VERSION_TABLE if row[2] == version)
    assert OPSETS[version].ir_version == came_with


@pytest.mark.parametrize("size", [OPEN, SIDES], ids=["dynamic", "fixed"])
@pytest.mark.parametrize("version", OPSETS)
def test_every_operator_set_runs_in_both_engines(
    reference: GraphReference, usual: Path, tmp_path: Path, version: int, size: Any
) -> None:
    target = replace(target_of(size=size, batch=2), opset=version)
    path = build(reference, target, tmp_path / "m.onnx")  # build runs the full checker
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", version)]
    assert model.ir_version == OPSETS[version].ir_version
    image = photographs(2, *SIDES)
    expected = by_onnxruntime(usual, image)
    for found in (by_onnxruntime(path, image), by_openvino(path, image)):
        np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.ptp(expected)))


@pytest.mark.parametrize("version", OPSETS)
def test_every_operator_set_passes_parity(
    reference: GraphReference, prover: ParityChecker, tmp_path: Path, version: int
) -> None:
    target = replace(target_of(size=OPEN, batch=None), opset=version)
    assert proven(build(reference, target, tmp_path / "m.onnx"), target, prover).status == ParityStatus.PASS


def test_checker_rejects_operators_of_a_later_operator_set(usual: Path) -> None:
    model = onnx.load(usual)
    model.opset_import[0].version = 17  # ReduceMean of this set has no input for the axes
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("asked", "opset"), [(None, None), (18, None), (13, 13), (23, 23)])
def test_target_records_only_other_operator_sets_than_the_default(asked: int | None, opset: int | None) -> None:
    (target,) = plan_targets(Request(model=parse_model("m1"), formats=("onnx",), opset=asked))
    assert target.opset == opset


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"opset": 12}, "Operator set 12 is not supported. Give --opset 13 to 23."),
        ({"opset": 24}, "Operator set 24 is not supported. Give --opset 13 to 23."),
        ({"opset": -1}, "Operator set -1 is not supported. Give --opset 13 to 23."),
        (
            {"formats": ("coreml",), "opset": 18},
            "coreml does not support --opset. Leave out --opset, or",
        ),
        ({"formats": ("onnx", "tflite"), "opset": 18}, "tflite does not support --opset. "),
        ({"half_io": True}, "--half-io requires the precision fp16. Add --precision fp16, and no other precision."),
        ({"half_io": True, "precisions": ("fp32",)}, "--half-io requires the precision fp16. "),
        ({"half_io": True, "precisions": ("fp16", "fp32")}, "--half-io requires the precision fp16. "),
        (
            {"half_io": True, "formats": ("tflite",)},
            "tflite does not support --half-io. Use --format onnx, or leave it out.",
        ),
        ({"half_io": True, "formats": ("coreml",), "precisions": ("fp16",)}, "coreml does not support --half-io. "),
    ],
)
def test_unsupported_onnx_options_are_rejected(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan_targets(Request(**{"model": parse_model("m1"), "formats": ("onnx",), **asked}))
    assert f"{caught.value.cause} {caught.value.remedy}".startswith(message)


# --- memory passes ----------------------------------------------------------------------------------------


def test_memory_passes_over_a_feature_map_of_a_block(reference: GraphReference, tmp_path: Path) -> None:
    """Each operation besides convolutions and views reads and writes the whole map, the main cost on large images."""
    target = target_of(size=(512, 512))  # maps have more pixels than channels in the last stage, too
    model = onnx.load(build(reference, target, tmp_path / "m.onnx"))
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim] for each in inferred.value_info}
    passes: dict[str, Counter[str]] = {}
    for node in model.graph.node:
        block = re.match(r"stages\.\d\.blocks\.\d", node.name)
        shape = shapes.get(node.output[0], [])
        is_map = len(shape) == 4 or (len(shape) == 3 and shape[2] > shape[1] > 1)
        is_narrow = re.search(r"mixer\.(B|dt|importance|AB)", node.name)  # N channels instead of D
        if block and is_map and not is_narrow and node.op_type not in ("Conv", "Reshape"):
            passes.setdefault(block.group(), Counter())[node.op_type] += 1
    *others, last = passes.values()
    # three for the norm, MatMul for the mixer's y, the two residual sums, and Relu in the FFN
    usual = Counter(Sub=1, Mul=1, Div=1, MatMul=1, Add=2, Relu=1)
    assert last == usual + Counter(Mul=1)  # the head consumes the last map, so that (1 - a) x remains
    assert others == [usual] * len(others)


# --- dynamic sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["logits", "features"])
def test_dynamic_file_passes_parity_at_every_size(
    reference: GraphReference, prover: ParityChecker, tmp_path: Path, output: str
) -> None:
    target = target_of(size=OPEN, batch=None, output=output)
    parity = proven(build(reference, target, tmp_path / "m.onnx"), target, prover)
    assert parity.status == ParityStatus.PASS
    sizes = {name.rpartition(" at ")[2] for name in parity.comparisons[0].inputs}
    assert sizes == {"64x64", "160x224", "203x131"}


def baked(path: Path) -> Path:
    """Declare the axes of a fixed-size file as dynamic, without a change of its operations."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=False):
            if name:
                axis.dim_param = name
    onnx.save(model, path)
    return path


def test_hard_coded_shape_fails_at_another_size(
    reference: GraphReference, prover: ParityChecker, tmp_path: Path
) -> None:
    fixed = target_of(size=(NATIVE, NATIVE), batch=1)
    path = baked(build(reference, fixed, tmp_path / "m.onnx"))
    image = photographs(1, NATIVE, NATIVE)
    assert by_onnxruntime(path, image).shape == (1, 10)  # the file runs at its original size
    with pytest.raises(BadInput, match="ONNX Runtime rejects"):
        proven(path, target_of(size=OPEN, batch=None), prover)


@pytest.mark.parametrize("name", [b"image", b"Relu"], ids=["input", "operation"])
def test_name_that_is_not_utf_8_is_rejected(tmp_path: Path, name: bytes) -> None:
    values = [helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [1, 3, 4, 4]) for each in ("image", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["y"])], "graph", values[:1], values[1:])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    engine = runtimes.ENGINES["onnxruntime"]
    with runtimes.open_artifact(path, engine, "fp32"):
        pass
    path.write_bytes(path.read_bytes().replace(name, b"\xf4" + name[1:], 1))
    with pytest.raises(BadInput, match=r"ONNX Runtime rejects .* 'utf-8' codec"):
        runtimes.open_artifact(path, engine, "fp32").__enter__()


# --- float16 inputs and outputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("preprocess", [True, False], ids=["pixels", "tensor"])
@pytest.mark.parametrize("output", ["logits", "probabilities", "features"])
def test_half_io_has_float16_inputs_and_outputs(
    reference: GraphReference, prover: ParityChecker, tmp_path: Path, output: str, preprocess: bool
) -> None:
    target = replace(target_of("onnx", "fp16", output, preprocess=preprocess), half_io=True)
    path = build(reference, target, tmp_path / "m.onnx")
    found = formats.read(path)
    assert {value.dtype for value in (*found.inputs, *found.outputs)} == {"float16"}
    assert proven(path, target, prover).status == ParityStatus.PASS
    usual = formats.read(build(reference, replace(target, half_io=False), tmp_path / "usual.onnx"))
    assert usual.operations["Cast"] - found.operations["Cast"] == 1 + len(found.outputs)
    assert {value.dtype for value in (*usual.inputs, *usual.outputs)} == {"float32"}


# --- weights in a second file -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_external_weights_pass_parity(
    reference: GraphReference, prover: ParityChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    target = target_of("onnx", precision)
    whole = build(reference, target, tmp_path / "whole.onnx")
    monkeypatch.setattr(onnx_file, "MOST_INSIDE", 10_000)
    path = build(reference, target, tmp_path / "m.onnx")
    exporter.annotate(path, {"key": "value"}, FACTS)
    data = path.with_name(path.name + COMPANION_SUFFIX)
    assert path.stat().st_size < whole.stat().st_size / 2 < data.stat().st_size
    assert formats.read(path).operations == formats.read(whole).operations
    assert formats.read(path).metadata == {"key": "value"}
    assert proven(path, target, prover).status == ParityStatus.PASS
    size = data.stat().st_size
    build(reference, target, path)
    assert data.stat().st_size == size  # the file is overwritten, not appended to

    content = bytearray(data.read_bytes())
    content[size // 2 : size // 2 + 4000] = bytes(4000)
    data.write_bytes(content)
    assert proven(path, target, prover).status == ParityStatus.FAIL
    data.unlink()
    with pytest.raises(BadInput, match="its file of weights"):
        formats.read(path)
    with pytest.raises(BadInput, match="ONNX Runtime"):
        proven(path, target, prover)


def test_model_with_external_weights_passes_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export, hash, verify, predict and overwrite with a single file; inputs and outputs are float16."""
    monkeypatch.setattr(onnx_file, "MOST_INSIDE", 10_000)
    request = Request(
        model=parse_model("m1"),
        formats=("onnx",),
        precisions=("fp16",),
        sizes=((NATIVE, NATIVE),),
        weights="random",
        num_classes=7,
        half_io=True,
        output_dir=tmp_path,
    )
    (made,) = export(request)
    path = Path(made["path"])
    data = path.with_name(path.name + COMPANION_SUFFIX)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, data.name, f"{path.name}.json"}
    assert made["parity"]["status"] == "pass"
    assert made["size_bytes"] == path.stat().st_size + data.stat().st_size
    assert [spec["dtype"] for spec in (*made["inputs"], *made["outputs"])] == ["float16"] * 2
    assert Verifier().verify(path).parity.status == ParityStatus.PASS
    picture = Path(__file__).parents[3] / "evim_deploy" / "data" / "photographs" / f"{NAMES[0]}.png"
    assert len(predict(path, [picture], 5).predictions[0].top) == 5

    with pytest.raises(BadInput, match="exists already"):
        export(request)
    with data.open("ab") as file:
        file.write(b"\0")
    assert "other bytes than were exported" in Verifier().verify(path).parity.reason
    monkeypatch.undo()
    export(replace(request, overwrite=True, verify=False))
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}
