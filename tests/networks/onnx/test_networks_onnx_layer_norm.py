"""LayerNorms that are written out in an ONNX file become one operation, and similar nodes do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from evim_deploy.networks.onnx.layer_norm import NORMALISE
from evim_deploy.networks.onnx.module import OnnxModule

SHAPE = (1, 3, 4, 8)


def model(mean: str = "ReduceMean", square: str = "Mul", axis: int = -1, of_variance: str = "square") -> Any:
    numbers = {"eps": np.float32(1e-3), "two": np.float32(2), "row": np.full((1, 4), 0.25, np.float32)}

    def averaged(name: str, output: str) -> Any:
        if mean == "MatMul":
            return helper.make_node("MatMul", ["row", name], [output])
        return helper.make_node("ReduceMean", [name], [output], axes=[axis], keepdims=1)

    nodes = [
        averaged("image", "mean"),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node(square, ["centred", "centred" if square == "Mul" else "two"], ["square"]),
        averaged(of_variance, "variance"),
        helper.make_node("Add", ["variance", "eps"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["root"]),
        helper.make_node("Div", ["centred", "root"], ["output"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("image", "output")]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "norm", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def operations(module: OnnxModule) -> list[str]:
    return [node.op for node in module._nodes]


@pytest.mark.parametrize(
    "options", [{}, {"square": "Pow"}, {"axis": 1}, {"axis": 2}, {"mean": "MatMul"}], ids=lambda options: str(options)
)
def test_a_norm_is_one_operation_and_gives_the_same(options: dict[str, Any]) -> None:
    made = model(**options)
    image = 300 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    module = OnnxModule(made.graph, 13, image)
    assert operations(module) == [NORMALISE]
    (expected,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"image": image.numpy()})
    np.testing.assert_allclose(module(image).numpy(), expected, atol=1e-5)


def test_what_only_looks_like_one_stays() -> None:
    """A negative control: the mean of absolute size, and a row that does not add up to a mean."""
    image = torch.rand(SHAPE) + 1
    other = model(of_variance="image")
    assert NORMALISE not in operations(OnnxModule(other.graph, 13, image))
    weighted = model(mean="MatMul")
    row = next(each for each in weighted.graph.initializer if each.name == "row")
    row.CopyFrom(numpy_helper.from_array(np.array([[0.4, 0.1, 0.25, 0.25]], np.float32), "row"))
    onnx.checker.check_model(weighted)
    assert NORMALISE not in operations(OnnxModule(weighted.graph, 13, image.clamp(max=1.5)))
