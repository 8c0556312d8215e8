"""Write our graph as ONNX: standard operations only, channels-first, so that any engine opens the file.

The only Reshapes are the views between a map and its tokens. ``state_update`` multiplies by a transposed factor, which
Einsum expresses without a Transpose. A mean over channels is a product with a row of 1 / D, because ONNX Runtime's
ReduceMean over a middle axis takes several times as long. An fp16 file has fp32 inputs and outputs by default. It
computes the channel LayerNorm in fp32, because the squares can exceed fp16's range.

Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper

from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.formats import onnx_writer
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import INTEGER_FORM_OPS, infer_shapes
from evim_deploy.graph.shapes import Shape
from evim_deploy.quantise.schemes import Scheme, find_scheme
from exporters.onnx import quantised
from exporters.onnx.emitter import Emitter, Handler, is_long


def build(graph: Graph, target: Target, path: Path) -> Signature:
    """Write a graph as an ONNX file that passes ONNX's checker; resolution and batch may be dynamic."""
    image: Shape = (
        "batch" if target.batch is None else target.batch,
        3,
        "height" if target.height is None else target.height,
        "width" if target.width is None else target.width,
    )
    shapes = infer_shapes(graph, image)
    signature = _signature(graph, target, shapes)
    scheme = find_scheme("onnx", target.precision)
    emitter = Emitter(
        graph,
        target,
        shapes,
        float_precision=scheme.float_precision if scheme else target.precision,
        handlers=_handlers(scheme),
        channels_last=quantised.states(graph) if scheme else (),
    )
    onnx_writer.save(emitter.model(signature), emitter.weights, path)
    onnx.checker.check_model(path, full_check=True)
    return signature


def annotate(path: Path, metadata: Mapping[str, str], info: ArtifactInfo) -> None:
    """Write metadata into ``metadata_props`` and the description into ``doc_string``."""
    model = onnx.load(path, load_external_data=False)
    helper.set_model_props(model, dict(metadata))
    model.doc_string = describe_artifact(info).description
    onnx.save(model, path)


def _signature(graph: Graph, target: Target, shapes: Mapping[str, Shape]) -> Signature:
    dtype = "float16" if target.half_io else "float32"
    return Signature(
        (
            TensorSpec(
                name=graph.input_name,
                shape=shapes[graph.input_name],
                dtype=dtype,
                layout="NCHW",
                range=target.input_range,
            ),
        ),
        tuple(
            TensorSpec(
                name=name,
                shape=shapes[value],
                dtype=dtype,
                layout="NCHW"[: len(shapes[value])],
                range=target.output_range,
            )
            for name, value in graph.outputs.items()
        ),
    )


def _conv(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    weights = [e.dequantised_weight(node, name) for name in ("kernel", "bias") if name in node.weights]
    e.emit("Conv", [*inputs, *weights], output, **e.window(node))


def _project(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    kernel = e.weight(node, "kernel", (*node.weights["kernel"].shape, 1))
    e.emit("Conv", [*inputs, kernel], output, kernel_shape=[1])


def _linear(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Gemm", [*inputs, e.weight(node, "kernel"), e.weight(node, "bias")], output, transB=1)


def _layer_norm(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    shape = e.shapes[node.inputs[0]]
    x = e.cast(inputs[0], TensorProto.FLOAT, "fp32") if e.half else inputs[0]
    is_map = len(shape) == 4
    tokens = e.to_tokens(x, f"{output}/tokens") if is_map else x
    channels = cast("int", shape[1])
    row = e.constant(f"mean_of.{channels}", np.full((1, channels), 1 / channels, np.float32))
    mean = e.emit("MatMul", [row, tokens], f"{output}/mean")  # (B, 1, L)
    centred = e.emit("Sub", [tokens, mean], f"{output}/centred")
    square = e.emit("Mul", [centred, centred], f"{output}/square")
    variance = e.emit("MatMul", [row, square], f"{output}/variance")
    eps = e.constant(f"{output}/eps", np.float32(node.eps()))
    deviation = e.emit("Sqrt", [e.emit("Add", [variance, eps], f"{output}/variance.eps")], f"{output}/deviation")
    normalised = f"{output}/normalised" if is_map else output
    if e.half:
        wide = e.emit("Div", [centred, deviation], f"{output}/wide")
        e.emit("Cast", [wide], normalised, to=e.float_type)
    else:
        e.emit("Div", [centred, deviation], normalised)
    if is_map:
        e.to_map(normalised, inputs[0], shape, output)


def _split(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    sections = e.integers(*node.sections())
    outputs = [e.names.get(value, value) for value in node.outputs]
    e.nodes.append(helper.make_node("Split", [*inputs, sections], outputs, name=output, axis=e.channels(node)))


def _unflatten(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    tokens, like = inputs
    e.to_map(tokens, like, e.shapes[node.name], output)


def _softmax_tokens(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    """Write the softmax; for very many tokens, divide it by its own sum, computed in two steps."""
    tokens = e.shapes[node.inputs[0]][2]
    if not is_long((tokens,)):
        e.emit("Softmax", inputs, output, axis=2)
        return
    weights = e.emit("Softmax", inputs, f"{output}/softmax", axis=2)
    total = e.sum_of_tokens(weights, tokens, output)  # (B, N)
    e.emit("Div", [weights, e.emit("Unsqueeze", [total, e.integers(2)], f"{output}/divisor")], output)


def _sum_tokens(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    total = e.sum_of_tokens(inputs[0], e.shapes[node.inputs[0]][2], output)
    e.emit("Unsqueeze", [total, e.integers(1)], output)


def _mean(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    shape = e.shapes[node.inputs[0]]
    keep = bool(node.attributes["keep"])
    x, axes = inputs[0], (1,) if node.inputs[0] in e.states else tuple(range(2, len(shape)))
    if is_long(shape[2:]):
        x, axes = e.mean(x, axes[-1:], True, f"{output}/rows"), axes[:-1]  # (B, C, H, 1)
        axes = axes if keep else (*axes, 3)
    e.mean(x, axes, keep, output)


def _silu(e: Emitter, node: Node, inputs: list[str], output: str) -> None:
    e.emit("Mul", [*inputs, e.emit("Sigmoid", inputs, f"{output}/sigmoid")], output)


HANDLERS: dict[str, Handler] = {
    "conv": _conv,
    "pointwise_conv": _project,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "scale": lambda e, node, inputs, output: e.emit("Mul", [*inputs, e.per_channel(node, "scale")], output),
    "shift": lambda e, node, inputs, output: e.emit("Add", [*inputs, e.per_channel(node, "bias")], output),
    "add": lambda e, node, inputs, output: e.emit("Add", inputs, output),
    "multiply": lambda e, node, inputs, output: e.emit("Mul", inputs, output),
    "relu": lambda e, node, inputs, output: e.emit("Relu", inputs, output),
    "sigmoid": lambda e, node, inputs, output: e.emit("Sigmoid", inputs, output),
    "silu": _silu,
    "softmax_tokens": _softmax_tokens,
    "softmax_channels": lambda e, node, inputs, output: e.emit("Softmax", inputs, output, axis=1),
    "split": _split,
    "flatten": lambda e, node, inputs, output: e.to_tokens(inputs[0], output),
    "unflatten": _unflatten,
    "state_update": lambda e, node, inputs, output: e.emit("Einsum", inputs, output, equation="bdl,bnl->bdn"),
    "state_readout": lambda e, node, inputs, output: e.emit("MatMul", inputs, output),
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "concat": lambda e, node, inputs, output: e.emit("Concat", inputs, output, axis=1),
}

REFUSED = {
    "batch_norm": "rewrites fold it into a convolution before export",
    **dict.fromkeys(INTEGER_FORM_OPS, "only integer forms contain it, for TFLite's int8"),
}
"""The other operations of a graph, each with the reason why no handler exists."""


def _handlers(scheme: Scheme | None) -> Mapping[str, Handler]:
    if scheme is None:
        return HANDLERS
    by_precision = {**HANDLERS, **quantised.STATES_LAST, "layer_norm": quantised.layer_norm(_layer_norm)}
    return quantised.dynamic(by_precision) if scheme.is_dynamic else by_precision
