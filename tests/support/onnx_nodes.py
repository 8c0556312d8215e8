"""ONNX models with a single node, in ONNX Runtime and as our module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from evim_deploy.networks.onnx.module import OnnxModule

RANDOM = np.random.default_rng(0)
MAP = (2, 4, 6, 8)
IR_VERSIONS = {21: 10, 22: 10, 23: 11}


@dataclass(frozen=True)
class Case:
    """A node: its operation, attributes, further inputs, and the image's shape and sign."""

    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    others: tuple[Any, ...] = ()
    shape: tuple[int, ...] = MAP
    opset: int = 18
    outputs: int = 1
    positive: bool = False

    def __str__(self) -> str:
        words = "-".join(f"{name}={value}".replace(" ", "") for name, value in self.attributes.items())
        others = "-".join("none" if each is None else "x".join(map(str, np.shape(each))) for each in self.others)
        return f"{self.op}-{self.opset}-{words}-{others}"


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal(shape, dtype=np.float32)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.int64)


def scalar(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, dtype=np.float32)


def model_of(case: Case) -> Any:
    """Make an ONNX model of a case; its inputs besides the image are constants."""
    names = [f"c{i}" if other is not None else "" for i, other in enumerate(case.others)]
    node = helper.make_node(case.op, ["image", *names], [f"y{i}" for i in range(case.outputs)], **case.attributes)
    weights = [numpy_helper.from_array(a, n) for n, a in zip(names, case.others, strict=True) if n]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, case.shape)],
        [helper.make_empty_tensor_value_info("y0")],
        weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=IR_VERSIONS.get(case.opset, 8)
    )


def image_of(case: Case) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(1).standard_normal(case.shape, dtype=np.float32)
    return np.abs(image) + np.float32(0.1) if case.positive else image


def both(case: Case) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The outputs of ONNX Runtime and of our module."""
    return runtime(case), module_of(case)(torch.from_numpy(image_of(case))).numpy()


def runtime(case: Case) -> np.ndarray[Any, Any]:
    """The output of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model_of(case).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: np.ndarray[Any, Any] = session.run(None, {"image": image_of(case)})[0]
    return output


def module_of(case: Case) -> OnnxModule:
    return OnnxModule(model_of(case).graph, case.opset, torch.from_numpy(image_of(case)))


def gap(expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any]) -> float:
    """The largest difference in units of the largest value."""
    return float(np.abs(expected.astype(np.float64) - actual).max() / (np.abs(expected).max() or 1))


def all_in_one(cases: Sequence[Case]) -> Any:
    """Make one model of many cases; each gets the first elements of ``image`` (1, n) and has one number as output.

    The number is the product of the case's output and random weights, so that each element contributes.
    """
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    numbers = []
    for i, case in enumerate(cases):
        count = int(np.prod(case.shape))
        others = [f"c{i}_{j}" if other is not None else "" for j, other in enumerate(case.others)]
        weights |= {name: other for name, other in zip(others, case.others, strict=True) if name}
        size = runtime(case).size
        spread = np.random.default_rng(i).standard_normal((size, 1)) / size**0.5
        weights |= {
            f"end{i}": ints(count),
            f"shape{i}": ints(*case.shape),
            f"spread{i}": spread.astype(np.float32),
        }
        made, source = f"x{i}", "positive" if case.positive else "image"
        nodes += [
            helper.make_node("Slice", [source, "zero", f"end{i}", "one"], [f"part{i}"]),
            helper.make_node("Reshape", [f"part{i}", f"shape{i}"], [made]),
            helper.make_node(case.op, [made, *others], [f"y{i}_{j}" for j in range(case.outputs)], **case.attributes),
            helper.make_node("Cast", [f"y{i}_0"], [f"float{i}"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", [f"float{i}", "row"], [f"row{i}"]),
            helper.make_node("MatMul", [f"row{i}", f"spread{i}"], [f"number{i}"]),
        ]
        numbers.append(f"number{i}")
    weights |= {"zero": ints(0), "one": ints(1), "row": ints(1, -1), "least": scalar(0.1)}
    largest = max(int(np.prod(case.shape)) for case in cases)
    first = [
        helper.make_node("Abs", ["image"], ["absolute"]),
        helper.make_node("Add", ["absolute", "least"], ["positive"]),
    ]
    graph = helper.make_graph(
        [*first, *nodes, helper.make_node("Concat", numbers, ["y"], axis=1)],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, largest])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(cases)])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", cases[0].opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSIONS.get(cases[0].opset, 8))
