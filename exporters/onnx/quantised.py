"""Handlers for the operations of a quantised ONNX file that differ from those of a float file.

States are (B, N, D), channels last, so that a pointwise convolution is a MatMul by an int8 matrix with one scale a
column. For a convolution over states, ONNX Runtime spends a quarter of the time on transposes of its input and output.
``state_update`` and ``state_readout`` multiply by transposed factors, which engines fuse into the product.

With ``dynamic``, the file computes the quantisation parameters of a product's input when it runs:
DynamicQuantizeLinear, an integer product, and a multiplication by both scales. Depthwise convolutions stay in float:
engines have no fast integer kernel for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import helper

from evim_deploy.formats.onnx_names import UNSIGNED
from evim_deploy.graph.ir import Graph, Node
from exporters.onnx.emitter import Emitter, Handler


def states(graph: Graph) -> frozenset[str]:
    """Return the names of all states: outputs of ``state_update`` and ``sum_tokens``, and values computed from them."""
    names: set[str] = set()
    for node in graph.nodes:
        if node.op in ("state_update", "sum_tokens") or (
            node.op not in ("state_readout", "mean") and names.intersection(node.inputs)
        ):
            names.update(node.outputs)
    return frozenset(names)


def layer_norm(of_maps: Handler) -> Handler:
    """Return a LayerNorm handler: over the last axis for states, where ReduceMean is fast, else the given handler."""

    def write(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
        handler = _layer_norm_of_states if node.inputs[0] in e.states else of_maps
        handler(e, node, inputs, output)

    return write


def _layer_norm_of_states(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    mean = e.mean(inputs[0], (2,), True, f"{output}/mean")  # (B, N, 1)
    centred = e.emit("Sub", [inputs[0], mean], f"{output}/centred")
    variance = e.mean(e.emit("Mul", [centred, centred], f"{output}/square"), (2,), True, f"{output}/variance")
    eps = e.constant(f"{output}/eps", np.float32(node.eps()))
    deviation = e.emit("Sqrt", [e.emit("Add", [variance, eps], f"{output}/variance.eps")], f"{output}/deviation")
    e.emit("Div", [centred, deviation], output)


def _project(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("MatMul", [*inputs, _matrix(e, node)], output)


def _linear(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    """Write Gemm with zero points, which ONNX Runtime's QGemm requires.

    Convolutions have none: OpenVINO would use float.
    """
    kernel = e.weight(node, "kernel") if "kernel" not in node.encodings else _with_zero_points(e, node)
    e.emit("Gemm", [*inputs, kernel, e.dequantised_weight(node, "bias")], output, transB=1)


def _with_zero_points(e: Emitter, node: Node) -> str:
    zeros = e.constant(f"{node.name}.kernel.zero_point", np.zeros(len(node.weights["kernel"]), np.int8))
    return e.emit("DequantizeLinear", [*e.quantised_weight(node), zeros], f"{node.name}/kernel", axis=0)


def _matrix(e: Emitter, node: Node) -> str:
    """Return the name of a kernel (O, I) as the second factor (I, O) of MatMul."""
    if "kernel" not in node.encodings:
        return e.constant(f"{node.name}.kernel", node.weights["kernel"].T.astype(e.float_dtype))
    return e.emit("DequantizeLinear", e.quantised_weight(node, transposed=True), f"{node.name}/kernel", axis=1)


def _write(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    tokens, weights = inputs
    weights = e.emit("Transpose", [weights], f"{output}/weights", perm=[0, 2, 1])  # (B, L, N)
    first = e.emit("MatMul", [tokens, weights], f"{output}/first")  # (B, D, N): fewer to transpose than the tokens
    e.emit("Transpose", [first], output, perm=[0, 2, 1])


def _read(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    states, weights = inputs
    e.emit("MatMul", [e.emit("Transpose", [states], f"{output}/states", perm=[0, 2, 1]), weights], output)


def _sum_tokens(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    total = e.sum_of_tokens(inputs[0], e.shapes[node.inputs[0]][2], output)
    e.emit("Unsqueeze", [total, e.integers(2)], output)  # (B, N, 1)


STATES_LAST: dict[str, Handler] = {
    "pointwise_conv": _project,
    "linear": _linear,
    "state_update": _write,
    "state_readout": _read,
    "sum_tokens": _sum_tokens,
}
"""Handlers for states with the channels last."""


def _dynamic(e: Emitter, node: Node, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
    """Write an integer product; multiply its sums by the scales of input and kernel, and add the bias.

    ONNX Runtime's ConvInteger supports only uint8 kernels.
    """
    x, kernel, scale = inputs
    quantised, scale_of_x, zero_point = (f"{output}/{part}" for part in ("codes", "scale", "zero_point"))
    e.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [quantised, scale_of_x, zero_point], name=quantised))
    factors = [quantised, kernel, zero_point]
    if op == "ConvInteger":
        factors.append(e.constant("unsigned.zero_point", np.uint8(UNSIGNED)))
    sums = e.emit(op, factors, f"{output}/sums", **attributes)
    sums = e.emit("Cast", [sums], f"{output}/float", to=e.float_type)
    scales = e.emit("Mul", [scale_of_x, scale], f"{output}/scales")
    if "bias" not in node.weights:
        e.emit("Mul", [sums, scales], output)
        return
    bias = e.weight(node, "bias", (-1, 1, 1) if op == "ConvInteger" else None)
    e.emit("Add", [e.emit("Mul", [sums, scales], f"{output}/product"), bias], output)


def dynamic(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """Return handlers that quantise the input of each product at run time; other operations keep the given handlers."""

    def conv(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
        if "kernel" not in node.encodings or node.is_depthwise:
            handlers["conv"](e, node, inputs, output)
        else:
            kernel, scale = e.quantised_weight(node, scales=(-1, 1, 1), unsigned=True)  # (O, 1, 1)
            _dynamic(e, node, "ConvInteger", [*inputs, kernel, scale], output, **e.window(node))

    def matrix(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
        if "kernel" not in node.encodings:
            handlers[node.op](e, node, inputs, output)
        else:
            _dynamic(e, node, "MatMulInteger", [*inputs, *e.quantised_weight(node, transposed=True)], output)

    return {**handlers, "conv": conv, "pointwise_conv": matrix, "linear": matrix}
