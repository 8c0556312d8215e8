"""A classifier in an ONNX file of torch's exporter, its reference, and every kind of file that is rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_module import CLASSES, SIDE, images, tiny_module
from torch import nn

from evim_deploy.common.errors import BadInput
from evim_deploy.networks.onnx.open import find_onnx, open_onnx
from evim_deploy.networks.torch_module.folding import fold
from evim_deploy.networks.torch_module.loaded import LoadedModel


def quiet(text: str) -> None:
    """Ignore a notification."""


def write(module: nn.Module, path: Path, dynamo: bool, opset: int, **options: Any) -> Path:
    """Export a module with torch's exporter, with an open batch."""
    axes: dict[str, Any] = (
        {"dynamic_shapes": ({0: "batch"},)}
        if dynamo
        else {"dynamic_axes": {"image": {0: "batch"}, "logits": {0: "batch"}}}
    )
    torch.onnx.export(
        module,
        (images(2),),
        path,
        input_names=["image"],
        output_names=["logits"],
        opset_version=opset,
        dynamo=dynamo,
        external_data=False,
        **axes,
        **options,
    )
    return path


def kinds(traced: Any) -> list[str]:
    """The kinds of a trace's operations."""
    return [node.kind() for node in traced.inlined_graph.nodes()]


def opened(path: Path) -> LoadedModel:
    return open_onnx(find_onnx(str(path)), quiet)


def gap(actual: Any, expected: Any) -> float:
    """The largest difference in units of the largest range."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return float(np.abs(actual - expected).max() / (expected.max(1) - expected.min(1)).max())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network in opset 17, with its BatchNorm."""
    module = nn.Sequential(tiny_module())
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    return write(module, path, False, 17, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)


@pytest.mark.parametrize(("dynamo", "opset"), [(True, 18), (True, 20), (False, 13), (False, 17)])
def test_what_torch_writes_is_read(dynamo: bool, opset: int, tmp_path: Path) -> None:
    found = opened(write(tiny_module(), tmp_path / "tiny.onnx", dynamo, opset))
    expected = tiny_module()(images(3)).numpy()
    assert found.num_classes == CLASSES
    assert gap(found.original(images(3).numpy())["logits"], expected) < 3e-6
    assert gap(found.module(images(3)), expected) < 3e-6
    traced = torch.jit.trace(found.module, images(3), check_trace=False)
    assert [kind for kind in kinds(traced) if kind in ("aten::erf", "aten::gelu")] == ["aten::gelu"]
    assert gap(traced(images(3)), expected) < 3e-6


def test_a_file_names_its_size(plain: Path) -> None:
    name = find_onnx(str(plain))
    assert (name.name, name.stem, name.size, name.fixed) == ("onnx:tiny.onnx", "tiny", (SIDE, SIDE), True)


def test_an_open_size_is_the_usual_one(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    for axis, word in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = word
    onnx.save(model, tmp_path / "open.onnx")
    name = find_onnx(str(tmp_path / "open.onnx"))
    assert (name.size, name.fixed) == ((224, 224), False)


def test_batch_norms_are_folded(plain: Path) -> None:
    module = opened(plain).module
    expected = module(images(2)).numpy()
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 1
    fold(module, images(1))
    assert not any(isinstance(each, nn.BatchNorm2d) for each in module.modules())
    assert gap(module(images(2)), expected) < 3e-6


def test_a_changed_weight_shows(plain: Path) -> None:
    found = opened(plain)
    expected = found.original(images(2).numpy())["logits"]
    next(found.module.parameters())[0] *= 1.5
    assert gap(found.module(images(2)), expected) > 1e-4


def test_a_last_softmax_is_left_out(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    model.graph.output[0].name = "probabilities"
    onnx.save(model, tmp_path / "probabilities.onnx")
    found = opened(tmp_path / "probabilities.onnx")
    expected = opened(plain).original(images(2).numpy())["logits"]
    assert gap(found.original(images(2).numpy())["logits"], expected) == 0
    assert gap(found.module(images(2)), expected) < 3e-6


def test_a_graph_for_one_image_says_so(tmp_path: Path) -> None:
    module = opened(saved(tmp_path, nodes("Reshape", others={"sizes": np.array([1, 192])}))).module
    assert module(images(1)[..., :8, :8]).shape == (1, 192)
    with pytest.raises(BadInput, match="1 image at a time"):
        module(images(2)[..., :8, :8])


def test_the_user_is_told_what_is_assumed(plain: Path) -> None:
    told: list[str] = []
    open_onnx(find_onnx(str(plain)), told.append)
    assert "normalised" in told[0]


def test_functions_of_the_file_are_read(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    relu = helper.make_node("Relu", ["x"], ["y"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Rectify", ["x"], ["y"], [relu], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("Rectify", ["logits"], ["rectified"], domain="own"))
    model.graph.output[0].name = "rectified"
    onnx.save(model, tmp_path / "function.onnx")
    found = opened(tmp_path / "function.onnx")
    expected = opened(plain).original(images(2).numpy())["logits"].clip(0)
    assert np.abs(found.original(images(2).numpy())["logits"] - expected).max() == 0
    assert np.abs(found.module(images(2)).numpy() - expected).max() < 1e-5


# --- files that are refused


def nodes(op: str, others: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """A model of one node between an image (1, 3, 8, 8) and ``logits``."""
    others = others or {}
    node = helper.make_node(op, ["image", *others], ["logits"], name="culprit", **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_empty_tensor_value_info("logits")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in others.items()],
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def saved(folder: Path, model: Any) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _control_flow() -> Any:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    model = nodes("If", then_branch=branch, else_branch=branch)
    model.graph.node[0].input[:] = ["always"]
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    return model


def _two_inputs() -> Any:
    model = nodes("Add")
    model.graph.node[0].input.append("mask")
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 3, 8, 8]))
    return model


def _two_outputs() -> Any:
    model = nodes("Relu")
    model.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8]))
    return model


def _takes(dtype: int, *shape: int | str) -> Any:
    model = nodes("Relu")
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, shape))
    return model


def _custom() -> Any:
    model = nodes("Fancy", domain="com.acme")
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    return model


def _external(location: str) -> Any:
    model = nodes("Add", others={"bias": np.ones((1, 3, 8, 8), np.float32)})
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model


def _negative_axes() -> Any:
    """A model on which ONNX Runtime 1.23 crashes with a segmentation fault."""
    sizes = {"roi": np.zeros(0, np.float32), "scales": np.zeros(0, np.float32), "sizes": np.array([4, 4])}
    return nodes("Resize", others=sizes, axes=[-2, -1])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "several inputs": (_two_inputs, "2 inputs: image, mask"),
    "several outputs": (_two_outputs, "2 outputs: logits, image"),
    "float16": (lambda: _takes(TensorProto.FLOAT16, 1, 3, 8, 8), "float16"),
    "no image": (lambda: _takes(TensorProto.FLOAT, 1, 192), "is not an image"),
    "channels last": (lambda: _takes(TensorProto.FLOAT, 1, 8, 8, 3), "is not an image"),
    "a batch of four": (lambda: _takes(TensorProto.FLOAT, 4, 3, 8, 8), "a batch of 4 images"),
    "no classes": (lambda: nodes("Relu"), "not one row of classes"),
    "custom": (_custom, "Fancy .culprit. of com.acme"),
    "control flow": (_control_flow, "If .culprit., control flow"),
    "unknown": (lambda: nodes("Hardmax"), "Hardmax .culprit.|not one row of classes"),
    "axes that crash ONNX Runtime": (_negative_axes, "negative axis"),
    "quantised": (lambda: nodes("DynamicQuantizeLinear"), "quantised"),
    "external data missing": (lambda: _external("weights.bin"), "weights.bin is missing"),
    "external data elsewhere": (lambda: _external("../weights.bin"), "not beside it"),
    "what ONNX Runtime refuses": (lambda: nodes("MatMul", others={"w": np.ones((5, 5), np.float32)}), "ONNX Runtime"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_such_network_is_refused(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises(BadInput, match=message):
        opened(saved(tmp_path, make()))


def test_a_truncated_file_is_refused(plain: Path, tmp_path: Path) -> None:
    content = plain.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="damaged"):
        opened(tmp_path / "cut.onnx")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no file"):
        find_onnx(str(tmp_path / "none.onnx"))
