"""Write our graph as TFLite through TensorFlow operations, channels-last from end to end.

Every value is rank 4 up to the head: maps (B, H, W, C), tokens (B, P, L / P, C) in P parts (one part, or one a row),
states (B, 1, N, D). So a view stays a view, the channel LayerNorm and every pointwise convolution run over the last
axis, and no operation needs a transpose. TFLite's softmax supports the last axis only, so the softmax over tokens is
written step by step. TensorFlow pads a strided convolution on one side and PyTorch on both, so there the padding is an
operation of its own.

Operations: https://www.tensorflow.org/mlir/tfl_ops
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Precision
from evim_deploy.formats.tflite_writer import pack
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import INTEGER_FORM_OPS
from evim_deploy.quantise.schemes import find_scheme
from exporters.tflite import file as tflite_file
from exporters.tflite import metadata as tflite_metadata
from exporters.tflite.integers import write

MOST_TERMS = 1024
"""Maximum number of terms of one sum over an image; a longer sum is a sum of the sums of its rows.

XNNPACK adds the terms one after the other in float32. For a plain image, whose terms are all equal, the sum of the
16384 tokens of 2048x2048 has an error of 2e-4, which a proof does not allow. Two steps take the same time.
"""

Weights = Mapping[str, Any]


def build(graph: Graph, target: Target, path: Path) -> Signature:
    """Write a graph as a .tflite file with one named signature, its labels and MediaPipe's metadata.

    fp16 stores the weights in half precision; the engine chooses how it computes (a GPU in fp16, XNNPACK in fp32).
    Quantised graphs are written tensor by tensor; an int8 file has uint8 pixels as input.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a TFLite file needs fixed shapes")
    scheme = find_scheme(target.format, target.precision)
    if scheme is not None:
        pixels = target.precision == Precision.INT8 and target.preprocess
        image = (target.batch, 3, target.height, target.width)
        content = pack(write(graph, image, scheme.integer_ops, pixels))
    else:
        content = _convert(graph, target)
    return complete(content, [graph.input_name], list(graph.outputs), target, path)


def _convert(graph: Graph, target: Target) -> bytes:
    """Convert a graph by TensorFlow's converter."""
    shape = (target.batch, target.height, target.width, 3)

    # Variables, which the converter freezes: constants would be part of every copy of the traced graph.
    module = tf.Module()
    module.weights = [{name: tf.Variable(array) for name, array in _weights(node).items()} for node in graph.nodes]

    def serve(image: Any) -> list[Any]:
        values = {graph.input_name: image}
        for node, weights in zip(graph.nodes, module.weights, strict=True):
            with tf.name_scope(node.name):  # becomes part of the tensors' names
                results = HANDLERS[node.op](node, weights, *(values[value] for value in node.inputs))
            values.update(zip(node.outputs, results if isinstance(results, list) else [results], strict=True))
        return [values[value] for value in graph.outputs.values()]

    specs = [tf.TensorSpec(shape, tf.float32, name=graph.input_name)]
    function = tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.experimental_lower_to_saved_model = False  # it takes half of the time and only adds a signature
    if target.precision == Precision.FP16:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    content: bytes = converter.convert()
    return content


def complete(content: bytes, inputs: Sequence[str], outputs: Sequence[str], target: Target, path: Path) -> Signature:
    """Add the signature and the labels to a converted model, and write it.

    Args:
        content: A flatbuffer with one subgraph.
        inputs: Names of the subgraph's inputs, in its order.
        outputs: Names of the subgraph's outputs, in its order.
        target: The artifact's target.
        path: Path of the file.
    """
    model = tflite_file.parse(content)
    graph = model.subgraphs[0]
    tflite_file.sign(
        model, dict(zip(inputs, graph.inputs, strict=True)), dict(zip(outputs, graph.outputs, strict=True))
    )

    def spec(name: str, index: int, value_range: tuple[float, float] | None) -> TensorSpec:
        shape = tuple(int(axis) for axis in graph.tensors[index].shape)
        dtype = "uint8" if graph.tensors[index].type == schema.TensorType.UINT8 else "float32"
        return TensorSpec(
            name=name, shape=shape, dtype=dtype, layout="NHWC" if len(shape) == 4 else "NC", range=value_range
        )

    signature = Signature(
        tuple(spec(name, index, target.input_range) for name, index in zip(inputs, graph.inputs, strict=True)),
        tuple(spec(name, index, target.output_range) for name, index in zip(outputs, graph.outputs, strict=True)),
    )
    tflite_file.write(path, model, tflite_metadata.associated_files(target))
    return signature


def annotate(path: Path, metadata: Mapping[str, str], info: ArtifactInfo) -> None:
    """Write metadata, MediaPipe's included, into named buffers of the flatbuffer, and set its description."""
    model = tflite_file.parse(path.read_bytes())
    model.description = describe_artifact(info).description
    tflite_file.put_metadata(model, tflite_metadata.METADATA_NAME, tflite_metadata.pack(path.stem, info))
    for name, text in metadata.items():
        tflite_file.put_metadata(model, name, text.encode())
    tflite_file.write(path, model, tflite_file.read_files(path))


def _weights(node: Node) -> dict[str, Any]:
    """Return an operation's weights in TensorFlow's layout, float32."""
    layouts: dict[str, Callable[[Any], Any]] = {
        "conv": lambda kernel: kernel.transpose((2, 3, 0, 1) if node.is_depthwise else (2, 3, 1, 0)),
        "pointwise_conv": lambda kernel: kernel.T[None, None],  # (1, 1, I, O)
        "linear": lambda kernel: kernel.T,  # (I, O)
    }
    return {
        name: np.ascontiguousarray(layouts[node.op](array) if name == "kernel" else array, dtype=np.float32)
        for name, array in node.weights.items()
    }


def _biased(x: Any, w: Weights) -> Any:
    return tf.nn.bias_add(x, w["bias"]) if "bias" in w else x


def _conv(node: Node, w: Weights, x: Any) -> Any:
    stride, padding, side = node.integer("stride"), node.integer("padding"), node.weights["kernel"].shape[-1]
    same = stride == 1 and padding == side // 2
    if padding and not same:
        x = tf.pad(x, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])  # (B, H + 2p, W + 2p, C)
    convolve = tf.nn.depthwise_conv2d if node.is_depthwise else tf.nn.conv2d
    return _biased(convolve(x, w["kernel"], [1, stride, stride, 1], "SAME" if same else "VALID"), w)


def _layer_norm(node: Node, w: Weights, x: Any) -> Any:
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + node.eps())


def _softmax_tokens(node: Node, w: Weights, x: Any) -> Any:
    exponentials = tf.exp(x - tf.reduce_max(x, axis=[1, 2], keepdims=True))
    return exponentials / _sum_parts(tf.reduce_sum(exponentials, axis=2, keepdims=True))


def _sum_parts(x: Any) -> Any:
    return x if x.shape[1] == 1 else tf.reduce_sum(x, axis=1, keepdims=True)  # (B, 1, _, C)


def _split(node: Node, w: Weights, x: Any) -> Any:
    sections = node.sections()
    is_even = len(set(sections)) == 1  # gives SPLIT, which XNNPACK supports, instead of SPLIT_V
    return tf.split(x, len(sections) if is_even else list(sections), axis=-1)


def _flatten(node: Node, w: Weights, x: Any) -> Any:
    batch, height, width, channels = x.shape
    parts = height if height * width > MOST_TERMS else 1
    return tf.reshape(x, [batch, parts, height * width // parts, channels])


def _state_update(node: Node, w: Weights, u: Any, v: Any) -> Any:
    return _sum_parts(tf.matmul(v, u, transpose_a=True))  # (B, P, L/P, N)^T (B, P, L/P, D) -> (B, 1, N, D)


def _state_readout(node: Node, w: Weights, h: Any, c: Any) -> Any:
    batch, parts, length, states = c.shape
    tokens = tf.reshape(c, [batch, 1, parts * length, states])
    return tf.matmul(tokens, h)  # (B, 1, L, N) (B, 1, N, D) -> (B, 1, L, D)


def _sum_tokens(node: Node, w: Weights, x: Any) -> Any:
    total = _sum_parts(tf.reduce_sum(x, axis=2, keepdims=True))  # (B, 1, 1, N)
    return tf.reshape(total, [x.shape[0], 1, x.shape[3], 1])


def _mean(node: Node, w: Weights, x: Any) -> Any:
    keeps = bool(node.attributes["keep"])
    _, height, width, _ = x.shape
    if height * width <= MOST_TERMS:
        return tf.reduce_mean(x, axis=[1, 2], keepdims=keeps)
    return tf.reduce_mean(tf.reduce_mean(x, axis=2, keepdims=True), axis=[1, 2], keepdims=keeps)


HANDLERS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "pointwise_conv": lambda node, w, x: tf.nn.conv2d(x, w["kernel"], 1, "VALID"),
    "linear": lambda node, w, x: _biased(tf.matmul(x, w["kernel"]), w),
    "layer_norm": _layer_norm,
    "scale": lambda node, w, x: x * w["scale"],
    "shift": lambda node, w, x: x + w["bias"],
    "add": lambda node, w, x, y: x + y,
    "multiply": lambda node, w, x, y: x * y,
    "relu": lambda node, w, x: tf.nn.relu(x),
    "sigmoid": lambda node, w, x: tf.sigmoid(x),
    "silu": lambda node, w, x: x * tf.sigmoid(x),
    "softmax_tokens": _softmax_tokens,
    "softmax_channels": lambda node, w, x: tf.nn.softmax(x, axis=-1),
    "split": _split,
    "flatten": _flatten,
    "unflatten": lambda node, w, x, like: tf.reshape(x, like.shape),
    "state_update": _state_update,
    "state_readout": _state_readout,
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "concat": lambda node, w, *xs: tf.concat(xs, axis=-1),
}

REFUSED = {
    "batch_norm": "rewrites fold it into a convolution before export",
    **dict.fromkeys(INTEGER_FORM_OPS, "only integer forms contain it, for TFLite's int8"),
}
"""The other operations of a graph, each with the reason why no handler exists."""
