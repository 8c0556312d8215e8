"""Every operation of an ONNX graph in Core ML and ONNX artifacts, compared with ONNX Runtime on the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import Case, all_in_one, ints, scalar
from torch import nn
from torch.nn import functional as F

from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput
from evim_deploy.formats.coreml import read_package
from evim_deploy.networks.onnx.layer_norm import NORMALISE
from evim_deploy.networks.onnx.layers import LAYERS
from evim_deploy.networks.onnx.module import OnnxModule
from evim_deploy.networks.onnx.operations import OPERATIONS
from exporters.coreml import torch_module as coreml
from exporters.onnx import torch_module as onnx_exporter
from runtimes.mil.evaluate import Evaluator
from tests.networks.onnx.test_networks_onnx_operations import CASES

TOLERANCE = 2e-5
MASKS = ("And", "Or", "Not", "Where")
"""Operations that take what a comparison gives."""


def beyond_core_ml(case: Case) -> bool:
    """Whether Core ML itself lacks the operation: six axes, and pools with gaps."""
    return (case.op == "MaxPool" and "dilations" in case.attributes) or case.op == "Unsqueeze"


def by_opset() -> dict[int, list[Case]]:
    found: dict[int, list[Case]] = {}
    for case in CASES:
        if not beyond_core_ml(case):
            found.setdefault(case.opset, []).append(case)
    return found


def test_every_operation_has_a_case() -> None:
    assert {case.op for case in CASES} | {*MASKS} == (OPERATIONS.keys() | LAYERS.keys()) - {NORMALISE}


def session_of(model: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def in_core_ml(module: nn.Module, image: torch.Tensor, folder: Path) -> np.ndarray[Any, Any]:
    """The evaluator's output of a module's Core ML package."""
    passes = ct.PassPipeline()
    passes.remove_passes(coreml._LEFT_OUT)
    with torch.no_grad():
        traced = torch.jit.trace(module, image, check_trace=False)
    package = ct.convert(
        traced,
        source="pytorch",
        inputs=[ct.TensorType("image", image.shape)],
        pass_pipeline=passes,
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    package.save(str(folder / "module.mlpackage"))
    read = read_package(folder / "module.mlpackage")
    function = read.functions[read.default_function]
    (output,) = function.outputs
    for step in Evaluator(function).steps({"image": image}, "fp32"):
        if output in [name for name, _ in step.operation.outputs]:
            found: np.ndarray[Any, Any] = step.values[0].numpy()
    return found


def far(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> list[int]:
    """Whether numbers differ, by element."""
    return np.flatnonzero(np.abs(actual - expected) > TOLERANCE * np.maximum(1, np.abs(expected))).tolist()


@pytest.mark.parametrize("opset", by_opset())
def test_every_operation_is_written_in_core_ml(opset: int, tmp_path: Path) -> None:
    cases = by_opset()[opset]
    model = all_in_one(cases)
    session = session_of(model)
    image = np.random.default_rng(2).standard_normal(session.get_inputs()[0].shape, dtype=np.float32)
    (expected,) = session.run(None, {"image": image})
    module = OnnxModule(model.graph, opset, torch.from_numpy(image))
    actual = in_core_ml(module, torch.from_numpy(image), tmp_path)
    assert [str(cases[i]) for i in far(actual, expected)] == []
    (other,) = session.run(None, {"image": image[:, ::-1].copy()})
    assert len(far(actual, other)) > len(cases) // 2  # a negative control


def mixed(batch: int | str) -> Any:
    """A classifier with masks and with operations that read the shapes of their inputs, for a batch size."""
    rng = np.random.default_rng(0)
    weights = {
        "order": ints(2, 1, 0),
        "kernel": rng.standard_normal((8, 3, 3, 3)) / 5,
        "scale": rng.standard_normal(4),
        "bias": rng.standard_normal(4),
        "limit": scalar(0.3),
        "low": scalar(-1),
        "tokens": ints(0, 8, -1),
        "last": np.array(-1),
        "wide": ints(1, 8, 3),
        "matrix": rng.standard_normal((24, 5)) / 5,
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["image", "order"], ["bgr"], axis=1),
        node("Conv", ["bgr", "kernel"], ["map"]),
        node("GroupNormalization", ["map", "scale", "bias"], ["normed"], num_groups=4),
        node("Greater", ["normed", "limit"], ["high"]),
        node("Less", ["normed", "low"], ["deep"]),
        node("Or", ["high", "deep"], ["either"]),
        node("And", ["high", "deep"], ["both"]),
        node("Not", ["both"], ["not_both"]),
        node("And", ["either", "not_both"], ["mask"]),
        node("Where", ["mask", "normed", "limit"], ["chosen"]),
        node("Cast", ["high"], ["ones"], to=TensorProto.FLOAT),
        node("Mul", ["chosen", "ones"], ["masked"]),
        node("DepthToSpace", ["masked"], ["deep_map"], blocksize=2),
        node("SpaceToDepth", ["deep_map"], ["flat_map"], blocksize=2),
        node("AveragePool", ["flat_map"], ["pooled"], kernel_shape=[3, 2], strides=[3, 3], ceil_mode=1),
        node("Reshape", ["pooled", "tokens"], ["columns"]),
        node("Gather", ["columns", "last"], ["column"], axis=2),
        node("Unsqueeze", ["column", "last_axis"], ["single"]),
        node("Expand", ["single", "wide"], ["widened"]),
        node("Flatten", ["widened"], ["features"]),
        node("MatMul", ["features", "matrix"], ["logits"]),
    ]
    weights["last_axis"] = ints(2)
    constants = [
        numpy_helper.from_array(np.asarray(each, np.float32 if np.asarray(each).dtype.kind == "f" else None), name)
        for name, each in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 12, 14])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_masks_and_lengths_are_written_in_core_ml(tmp_path: Path) -> None:
    model = mixed(1)
    image = np.random.default_rng(3).standard_normal((1, 3, 12, 14), dtype=np.float32)
    (expected,) = session_of(model).run(None, {"image": image})
    module = OnnxModule(model.graph, 18, torch.from_numpy(image))
    assert far(in_core_ml(module, torch.from_numpy(image), tmp_path), expected) == []


def test_masks_and_lengths_are_written_for_an_open_batch(tmp_path: Path) -> None:
    model = mixed("batch")
    images = np.random.default_rng(3).standard_normal((3, 3, 12, 14), dtype=np.float32)
    (expected,) = session_of(model).run(None, {"image": images})
    module = OnnxModule(model.graph, 18, torch.from_numpy(images[:1]))
    path = tmp_path / "open.onnx"
    target = Target(
        format="onnx",
        precision="fp32",
        height=12,
        width=14,
        batch=None,
        task="classify",
        output="logits",
        preprocess=False,
        labels=tuple("abcde"),
    )
    onnx_exporter.build(module, target, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert far(session.run(None, {"image": images})[0], expected) == []


def test_what_core_ml_lacks_is_refused_by_name(tmp_path: Path) -> None:
    module = nn.MaxPool2d(2, dilation=2)
    target = Target(
        format="coreml",
        precision="fp32",
        height=8,
        width=8,
        batch=1,
        task="classify",
        output="logits",
        preprocess=False,
        labels=(),
    )
    with pytest.raises(BadInput, match=r"coremltools cannot convert .* dilation"):
        coreml.build(module, target, tmp_path / "pool.mlpackage")


EXACT: dict[str, tuple[Any, Any]] = {
    "reciprocal": (lambda x: 1 / (x.abs() + 1e-3), 1.0),
    "log_softmax": (lambda x: F.log_softmax(x, -1), 300.0),
    "rms_norm": (lambda x: F.rms_norm(x, (8,), torch.arange(8.0), 1e-6), 1e-3),
    "rms_norm without weights": (lambda x: F.rms_norm(x, (8,)), 100.0),
    "prod": (lambda x: x.prod(1), 1.0),
}
"""Operations of torch that coremltools approximates or has not, with a size of what they take."""


@pytest.mark.parametrize("name", EXACT)
def test_core_ml_has_the_exact_value(name: str, tmp_path: Path) -> None:
    function, size = EXACT[name]
    x = size * torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    assert far(in_core_ml(Function(function), x, tmp_path), function(x).numpy()) == []


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)
