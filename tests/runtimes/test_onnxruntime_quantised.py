"""Quantised ONNX files whose integer products are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from evim_deploy.common.errors import BadInput
from runtimes import onnxruntime
from runtimes.modes import Mode


def write(path: Path, product: str, weights: str) -> Path:
    """A model of one product with an input quantised at run time; its weights are stored under the name ``kernel``."""
    kernel = np.ones((4, 4) if product == "MatMulInteger" else (4, 4, 1, 1), np.uint8)
    shape = [1, 4] if product == "MatMulInteger" else [1, 4, 8, 8]
    graph = helper.make_graph(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["quantised", "scale", "zero_point"]),
            helper.make_node(product, ["quantised", weights, "zero_point"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["y"], to=TensorProto.FLOAT),
        ],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize("product", ["MatMulInteger", "ConvInteger"])
def test_missing_weights_of_an_integer_product_are_refused(tmp_path: Path, product: str) -> None:
    damaged = write(tmp_path / "damaged.onnx", product, "lost")
    with (
        pytest.raises(BadInput, match=f"the weights 'lost' of a {product} are missing"),
        onnxruntime.open_session(damaged, Mode.FP32),
    ):
        pass
    sound = write(tmp_path / "sound.onnx", product, "kernel")
    with onnxruntime.open_session(sound, Mode.FP32) as session:
        assert session is not None
