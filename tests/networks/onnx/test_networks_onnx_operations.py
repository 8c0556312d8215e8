"""Each operation of an ONNX graph, alone in a model, compared with ONNX Runtime; and the unsupported ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import Case, both, floats, gap, image_of, ints, model_of, scalar

from evim_deploy.common.errors import BadInput
from evim_deploy.networks.onnx.module import OnnxModule

KERNEL = {"kernel_shape": [3, 3]}
SIMPLE = [
    *(
        Case(op)
        for op in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Abs", "Neg", "Floor", "Ceil", "Identity", "Softplus")
    ),
    *(Case(op) for op in ("HardSwish", "Mish", "Sin", "Cos", "Softsign", "Selu", "Sign", "Round", "Dropout")),
    *(Case(op, positive=True) for op in ("Log", "Sqrt", "Reciprocal")),
    *(Case(op, others=(floats(4, 1, 1),)) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "Sum", "Mean")),
    *(Case(op, others=(scalar(0.3),)) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")),
    *(Case(op, others=(floats(8),)) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")),
    *(Case("Cast", {"to": kind}) for kind in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)),
    Case("CastLike", others=(ints(1),)),
    Case("Pow", others=(scalar(2),)),
    Case("Pow", others=(scalar(0.5),), positive=True),
    Case("Clip", others=(scalar(-0.5), scalar(0.25))),
    Case("Clip", others=(None, scalar(0.25))),
    Case("Clip"),
    Case("LeakyRelu"),
    Case("LeakyRelu", {"alpha": 0.2}),
    Case("Elu", {"alpha": 0.7}),
    Case("Selu", {"alpha": 1.0, "gamma": 2.0}),
    Case("HardSigmoid"),
    Case("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    Case("Gelu", opset=20),
    Case("Gelu", {"approximate": "tanh"}, opset=20),
    *(Case(op, {"axis": axis}, opset=o) for op in ("Softmax", "LogSoftmax") for axis in (1, -1) for o in (11, 13)),
    Case("Softmax", opset=12),
]
REDUCTIONS = [
    *(Case(op, {"axes": [2, 3]}, opset=13) for op in ("ReduceMean", "ReduceMax", "ReduceL2", "ReduceMin", "ReduceL1")),
    *(Case(op, {"keepdims": 0}, (ints(-1),)) for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceLogSumExp")),
    *(Case(op, {}, (ints(1, 2),)) for op in ("ReduceProd", "ReduceSumSquare", "ReduceL2")),
    Case("ReduceSum", {"axes": [1]}, opset=11),
    Case("ReduceMean"),
    *(
        Case(f"Reduce{kind}", {"noop_with_empty_axes": 1}, axes)
        for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")
        for axes in ((), (ints(),))
    ),
]
NORMS = [
    Case("BatchNormalization", others=(floats(4), floats(4), floats(4), np.abs(floats(4)) + 1)),
    Case("InstanceNormalization", {"epsilon": 1e-3}, (floats(4), floats(4))),
    Case("InstanceNormalization", {}, (np.ones(1, np.float32), np.zeros(1, np.float32)), shape=(2, 1, 48)),
    Case("LayerNormalization", {"axis": -1}, (floats(8), floats(8))),
    Case("LayerNormalization", {"axis": 2}, (floats(6, 8),)),
    Case("GroupNormalization", {"num_groups": 2}, (floats(4), floats(4)), opset=21),
    Case("GroupNormalization", {"num_groups": 2}, (floats(2), floats(2)), opset=18),
    Case("GroupNormalization", {"num_groups": 1}, (floats(1), floats(1)), shape=(2, 4, 9), opset=18),
    Case("RMSNormalization", {"axis": 2, "epsilon": 0.1}, (floats(6, 8),), opset=23),
    Case("LpNormalization", {"axis": 1}),
    Case("LRN", {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}),
]
WEIGHTS = [
    Case("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (floats(5, 4, 3, 3), floats(5))),
    Case("Conv", {"pads": [0, 1, 2, 0]}, (floats(5, 4, 3, 3),)),
    Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (floats(5, 4, 3, 3), floats(5))),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (floats(5, 4, 2, 2),)),
    Case("Conv", {"auto_pad": "VALID"}, (floats(5, 4, 3, 3),)),
    Case("Conv", {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}, (floats(8, 1, 3, 3), floats(8))),
    Case("Conv", {"pads": [1, 1]}, (floats(5, 4, 3), floats(5)), shape=(2, 4, 9)),
    Case("MatMul", others=(floats(8, 5),)),
    Case("MatMul", others=(floats(2, 4, 8, 5),)),
    Case("Gemm", {"transB": 1}, (floats(5, 8), floats(5)), shape=(2, 8)),
    Case("Gemm", {"alpha": 0.5, "beta": 2.0}, (floats(8, 5), floats(5)), shape=(2, 8)),
    Case("Gemm", {"transA": 1}, (floats(2, 5),), shape=(2, 8)),
    Case("Einsum", {"equation": "bchw,wk->bkch"}, (floats(8, 5),)),
]
WINDOWS = [
    Case("MaxPool", {**KERNEL, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", {**KERNEL, "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    Case("MaxPool", {**KERNEL, "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", {**KERNEL, "dilations": [2, 2]}),
    Case("AveragePool", {**KERNEL, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", {**KERNEL, "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", {**KERNEL, "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    Case("AveragePool", {**KERNEL, "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    *(
        Case("AveragePool", {**KERNEL, "strides": [2, 2], "ceil_mode": 1, **padding, **counts}, opset=opset)
        for opset in (18, 20)
        for padding in ({}, {"pads": [0, 0, 0, 1]})
        for counts in ({}, {"count_include_pad": 1})
    ),
    Case("MaxPool", {**KERNEL, "strides": [2, 2], "pads": [0, 0, 0, 1], "ceil_mode": 1}),
    Case("MaxPool", {**KERNEL}, outputs=2),
    Case("GlobalAveragePool"),
    Case("GlobalMaxPool"),
    Case("Pad", {}, (ints(0, 0, 1, 2, 0, 0, 3, 4), scalar(0.5))),
    Case("Pad", {"mode": "reflect"}, (ints(0, 0, 1, 2, 0, 0, 3, 4),)),
    Case("Pad", {"mode": "edge"}, (ints(1, 2), None, ints(3)), opset=18),
    Case("Resize", {"mode": "nearest"}, (None, np.array([1, 1, 2, 3], np.float32))),
    Case(
        "Resize",
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        (None, None, ints(2, 4, 12, 16)),
    ),
    Case("Resize", {"mode": "linear"}, (None, None, ints(2, 4, 9, 16))),
    Case("Resize", {"mode": "nearest"}, (None, None, ints(2, 4, 9, 5))),
    Case("Resize", {"mode": "nearest", "nearest_mode": "ceil"}, (None, np.array([1, 1, 0.5, 1.3], np.float32))),
    Case(
        "Resize",
        {"keep_aspect_ratio_policy": "stretch", "antialias": 0, "exclude_outside": 0, "axes": [2, 3]},
        (None, np.array([2, 2], np.float32)),
    ),
    Case(
        "Resize",
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        (None, np.array([1, 1, 2, 2], np.float32)),
    ),
]
SHAPES = [
    Case("Reshape", {}, (ints(0, -1, 8),)),
    Case("Reshape", {"allowzero": 1}, (ints(2, 192),)),
    Case("Transpose"),
    Case("Transpose", {"perm": [0, 2, 3, 1]}),
    Case("Flatten"),
    Case("Flatten", {"axis": 2}),
    Case("Flatten", {"axis": -1}),
    Case("Flatten", {"axis": 0}),
    Case("Squeeze", {"axes": [1]}, shape=(2, 1, 8), opset=11),
    Case("Squeeze", {}, (ints(-2),), shape=(2, 1, 8)),
    Case("Squeeze", shape=(2, 1, 8)),
    Case("Unsqueeze", {"axes": [0, 3]}, opset=11),
    Case("Unsqueeze", {}, (ints(-1, 0),)),
    Case("Concat", {"axis": 1}, (floats(2, 3, 6, 8),)),
    Case("Split", {"axis": 1}, (ints(1, 3),), outputs=2),
    Case("Split", {"axis": 1, "split": [1, 3]}, outputs=2, opset=11),
    Case("Split", {"axis": 1, "num_outputs": 3}, shape=(2, 8, 3), outputs=3),
    Case("Split", {"axis": 1}, outputs=2, opset=13),
    Case("Slice", {}, (ints(1, -7), ints(3, 9999), ints(2, 3), ints(1, 2))),
    Case("Slice", {}, (ints(0, 1), ints(1, 3))),
    Case("Slice", {}, (ints(-1), ints(-9), ints(3), ints(-2))),
    Case("Gather", {"axis": 1}, (ints(0, -1),)),
    Case("Gather", {"axis": 1}, (np.array(-1),)),
    Case("Gather", {"axis": 3}, (np.array([7, -1, 0], np.int32),)),
    Case("Gather", {"axis": 2}, (np.array([[0, 1], [3, -2]]),)),
    Case("Expand", {}, (ints(2, 4, 1, 8),), shape=(2, 1, 6, 1)),
    Case("Tile", {}, (ints(1, 2, 1, 3),)),
    Case("DepthToSpace", {"blocksize": 2}),
    Case("DepthToSpace", {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", {"blocksize": 2}),
]
CASES = [*SIMPLE, *REDUCTIONS, *NORMS, *WEIGHTS, *WINDOWS, *SHAPES]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operation_gives_what_onnx_runtime_does(case: Case) -> None:
    expected, actual = both(case)
    assert actual.shape == expected.shape
    assert gap(expected, actual) < 2e-6


def test_a_wrong_attribute_shows() -> None:
    case = Case("LeakyRelu", {"alpha": 0.2})
    expected, _ = both(case)
    _, actual = both(Case("LeakyRelu", {"alpha": 0.21}))
    assert gap(expected, actual) > 1e-4


REFUSED = [
    Case("TopK", {}, (ints(2),), outputs=2),
    Case("Resize", {"mode": "cubic"}, (None, np.array([1, 1, 2, 2], np.float32))),
    Case("Resize", {"mode": "linear"}, (None, np.array([1, 1, 1.6, 2], np.float32))),
    Case("Resize", {"mode": "linear", "antialias": 1}, (None, None, ints(2, 4, 3, 4))),
    Case("Resize", {"mode": "nearest"}, (None, None, ints(2, 8, 6, 8))),
    Case("Resize", {"keep_aspect_ratio_policy": "not_larger"}, (None, None, ints(2, 4, 9, 9))),
    Case("Pad", {"mode": "wrap"}, (ints(0, 0, 1, 1, 0, 0, 1, 1),), opset=19),
    Case("AveragePool", {**KERNEL, "dilations": [2, 2]}, opset=19),
    Case("MaxPool", {"kernel_shape": [1, 1], "strides": [4, 4], "auto_pad": "SAME_UPPER"}, shape=(2, 4, 8, 8)),
    Case("Cast", {"to": TensorProto.FLOAT16}),
    Case("Dropout", {}, (scalar(0.5), np.array(True))),
    Case("MeanVarianceNormalization"),
    Case("Conv", {}, (floats(5, 4, 1, 1, 1),), shape=(2, 4, 5, 5, 5)),
    Case("Relu", opset=10),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_not_converted_is_refused_by_name(case: Case) -> None:
    model = model_of(case)
    with pytest.raises(BadInput, match=case.op if case.opset > 10 else "opset 10"):
        OnnxModule(model.graph, case.opset, torch.from_numpy(image_of(case)))


def graph_of(nodes: list[Any], outputs: str = "y", weights: dict[str, Any] | None = None) -> Any:
    """A graph of an image (1, 3, 4, 4)."""
    return helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_empty_tensor_value_info(outputs)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )


def answers(graph: Any) -> tuple[Any, Any]:
    """The outputs of ONNX Runtime and of our module for one image."""
    image = np.random.default_rng(0).standard_normal((1, 3, 4, 4), dtype=np.float32)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    module = OnnxModule(graph, 17, torch.from_numpy(image))
    return session.run(None, {"image": image})[0], module(torch.from_numpy(image)).numpy()


_SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("sparse", TensorProto.FLOAT, [2], [1.5, 2.5]), helper.make_tensor("at", 7, [2], [0, 2]), [3]
)
CONSTANTS: dict[str, dict[str, Any]] = {
    "value": {"value": numpy_helper.from_array(floats(3, 1, 1))},
    "value of one": {"value": numpy_helper.from_array(floats(1, 1, 1, 1, 1))},
    "value_float": {"value_float": 1.5},
    "value_floats": {"value_floats": [1.5, 2.5, -1.0, 0.5]},
    "sparse_value": {"sparse_value": _SPARSE},
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_read_in_each_of_its_forms(name: str) -> None:
    last = [helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 2, 3, 1])] if name == "sparse_value" else []
    nodes = [
        helper.make_node("Constant", [], ["constant"], **CONSTANTS[name]),
        *last,
        helper.make_node("Mul", ["turned" if last else "image", "constant"], ["y"]),
    ]
    expected, actual = answers(graph_of(nodes))
    assert actual.shape == expected.shape
    assert gap(expected, actual) < 2e-6


def test_a_sparse_weight_is_read() -> None:
    graph = graph_of(
        [
            helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 2, 3, 1]),
            helper.make_node("Mul", ["turned", "sparse"], ["y"]),
        ]
    )
    graph.sparse_initializer.append(_SPARSE)
    expected, actual = answers(graph)
    assert gap(expected, actual) < 2e-6


def test_a_constant_of_one_element_keeps_its_rank() -> None:
    """A scalar times an array of one element is an array."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "one"], ["y"]),
    ]
    expected, actual = answers(graph_of(nodes, weights={"one": np.array([1.5], np.float32)}))
    assert expected.shape == actual.shape == (1,)


def test_limits_that_are_computed_of_constants_are_numbers() -> None:
    nodes = [helper.make_node("Exp", ["one"], ["e"]), helper.make_node("Clip", ["image", "", "e"], ["y"])]
    expected, actual = answers(graph_of(nodes, weights={"one": scalar(-1)}))
    assert gap(expected, actual) < 2e-6


def test_negative_numbers_are_divided_and_reduced_as_onnx_does() -> None:
    nodes = [
        helper.make_node("Div", ["minus", "two"], ["half"]),  # -2
        helper.make_node("ReduceSum", ["half", "none"], ["sum"]),
        helper.make_node("Unsqueeze", ["image", "sum"], ["y"]),
    ]
    weights = {"minus": ints(-5), "two": ints(2), "none": ints()}
    expected, actual = answers(graph_of(nodes, weights=weights))
    assert expected.shape == actual.shape == (1, 3, 4, 1, 4)


def test_a_second_output_that_is_taken_is_refused_by_name() -> None:
    nodes = [
        helper.make_node("MaxPool", ["image"], ["most", "places"], name="pool", kernel_shape=[2, 2]),
        helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(BadInput, match=r"MaxPool .pool. has a second output, places"):
        OnnxModule(graph_of(nodes), 17, torch.ones(1, 3, 4, 4))


def test_an_element_type_that_torch_lacks_is_refused_by_name() -> None:
    graph = graph_of([helper.make_node("Cast", ["weight"], ["y"], name="cast", to=TensorProto.FLOAT)])
    graph.initializer.append(helper.make_tensor("weight", TensorProto.BFLOAT16, [1], [1.5]))
    with pytest.raises(BadInput, match=r"Cast .cast. has the input weight of the element type bfloat16"):
        OnnxModule(graph, 17, torch.ones(1, 3, 4, 4))


def test_weights_that_are_computed_of_the_image_are_refused_by_name() -> None:
    nodes = [helper.make_node("Conv", ["image", "image"], ["y"], name="conv")]
    with pytest.raises(BadInput, match=r"Conv .conv. computes its weights from the image"):
        OnnxModule(graph_of(nodes), 17, torch.ones(1, 3, 4, 4))


def test_shapes_that_depend_on_the_pixels_are_refused() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["count"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["count", "one"], ["counts"]),
        helper.make_node("Expand", ["image", "counts"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(ints(1), "one")],
    )
    with pytest.raises(BadInput, match=r"Expand .* depend on the image"):
        OnnxModule(graph, 18, torch.ones(1, 3, 4, 4))


def test_lengths_are_computed_of_lengths() -> None:
    """A flattening for an open batch in the form of torch's exporter: Shape, Gather, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["image"], ["sizes"]),
        helper.make_node("Slice", ["sizes", "zero", "one"], ["batch"]),
        helper.make_node("Gather", ["sizes", "two"], ["height"]),
        helper.make_node("Mul", ["height", "two"], ["double"]),
        helper.make_node("Unsqueeze", ["double", "zero"], ["doubles"]),
        helper.make_node("Concat", ["batch", "rest", "doubles"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["image", "wanted"], ["y"]),
    ]
    weights = {"zero": ints(0), "one": ints(1), "two": np.array(2), "rest": ints(-1)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, 4, 6])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    module = OnnxModule(graph, 18, torch.ones(1, 3, 4, 6))
    assert module(torch.ones(5, 3, 4, 6)).shape == (5, 9, 8)
