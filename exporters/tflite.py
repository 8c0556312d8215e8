"""TFLite: the graph in TensorFlow operations, channels-last from end to end.

Every value is rank 4 up to the head: maps (B, H, W, C), tokens (B, 1, L, C), states (B, 1, N, D).
So a view stays a view, the channel LayerNorm and every projection run over the last axis, and no
operation needs a transpose. TFLite's softmax knows the last axis alone; over tokens it is written
out. TensorFlow pads a strided convolution on one side, PyTorch on both: there the padding is its
own operation.

Operations: https://www.tensorflow.org/mlir/tfl_ops
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from evim_deploy.about import About
from evim_deploy.artifact import Contract, Target, TensorSpec
from evim_deploy.graph import Graph, Node

_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # bytes: force_align of Buffer.data in TFLite's schema

Weights = Mapping[str, Any]


def build(graph: Graph, target: Target, path: Path) -> Contract:
    """Write a graph as a .tflite file with one named signature.

    fp16 stores the weights in half precision; what computes with them (a GPU in fp16, XNNPACK in
    fp32) is the engine's choice.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a TFLite file has fixed shapes")
    shape = (target.batch, target.height, target.width, 3)

    # Variables, frozen by the converter: constants would travel in every copy of the traced graph.
    module = tf.Module()
    module.weights = [{name: tf.Variable(array) for name, array in _weights(node).items()} for node in graph.nodes]

    def serve(image: Any) -> dict[str, Any]:
        values = {graph.input_name: image}
        for node, weights in zip(graph.nodes, module.weights, strict=True):
            with tf.name_scope(node.name):  # the converter keeps it in the names of the tensors
                results = _HANDLERS[node.op](node, weights, *(values[value] for value in node.inputs))
            values.update(zip(node.outputs, results if isinstance(results, list) else [results], strict=True))
        return {name: tf.identity(values[value], name=name) for name, value in graph.outputs.items()}

    signature = [tf.TensorSpec(shape, tf.float32, name=graph.input_name)]
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    function = module.serve.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if target.precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())
    return _contract(path, target)


def annotate(path: Path, metadata: Mapping[str, str], about: About) -> None:
    """Put metadata into named buffers of the flatbuffer, and the description into its own field."""
    model = _read(path)
    model.description = about.description
    model.metadata = model.metadata or []
    entries = {entry.name.decode(): entry for entry in model.metadata}
    for name, text in metadata.items():
        if name not in entries:
            entry = entries[name] = schema.MetadataT()
            entry.name, entry.buffer = name.encode(), len(model.buffers)
            model.metadata.append(entry)
            model.buffers.append(schema.BufferT())
        model.buffers[entries[name].buffer].data = np.frombuffer(text.encode(), dtype=np.uint8)
    builder = _AlignedBuilder(path.stat().st_size)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    path.write_bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Puts each buffer on 16 bytes, as the schema demands and the object API forgets."""

    def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802, the base class's name
        self.Prep(_BUFFER_ALIGNMENT, x.nbytes)
        return super().CreateNumpyVector(x)


def _read(path: Path) -> Any:
    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


def _contract(path: Path, target: Target) -> Contract:
    model = _read(path)
    (signature,) = model.signatureDefs
    tensors = model.subgraphs[0].tensors

    def spec(entry: Any, value_range: tuple[float, float] | None) -> TensorSpec:
        shape = tuple(int(axis) for axis in tensors[entry.tensorIndex].shape)
        return TensorSpec(entry.name.decode(), shape, "float32", "NHWC" if len(shape) == 4 else "NC", value_range)

    return Contract(
        tuple(spec(entry, target.input_range) for entry in signature.inputs),
        tuple(spec(entry, target.output_range) for entry in signature.outputs),
    )


def _weights(node: Node) -> dict[str, Any]:
    """An operation's weights as TensorFlow lays them out, float32."""
    layouts: dict[str, Callable[[Any], Any]] = {
        "conv": lambda kernel: kernel.transpose((2, 3, 0, 1) if node.is_depthwise else (2, 3, 1, 0)),
        "project": lambda kernel: kernel.T[None, None],  # (1, 1, I, O)
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
    exponentials = tf.exp(x - tf.reduce_max(x, axis=2, keepdims=True))
    return exponentials / tf.reduce_sum(exponentials, axis=2, keepdims=True)


def _split(node: Node, w: Weights, x: Any) -> Any:
    sections = node.sections()
    is_even = len(set(sections)) == 1  # makes a SPLIT, which XNNPACK takes, and not a SPLIT_V
    return tf.split(x, len(sections) if is_even else list(sections), axis=-1)


def _flatten(node: Node, w: Weights, x: Any) -> Any:
    batch, height, width, channels = x.shape
    return tf.reshape(x, [batch, 1, height * width, channels])


def _sum_tokens(node: Node, w: Weights, x: Any) -> Any:
    batch, _, _, states = x.shape
    return tf.reshape(tf.reduce_sum(x, axis=2), [batch, 1, states, 1])


_HANDLERS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "project": lambda node, w, x: tf.nn.conv2d(x, w["kernel"], 1, "VALID"),
    "linear": lambda node, w, x: _biased(tf.matmul(x, w["kernel"]), w),
    "layer_norm": _layer_norm,
    "scale": lambda node, w, x: x * w["factor"],
    "shift": lambda node, w, x: x + w["offset"],
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
    "write": lambda node, w, u, v: tf.matmul(v, u, transpose_a=True),  # (B, 1, L, N)^T (B, 1, L, D) -> (B, 1, N, D)
    "read": lambda node, w, h, c: tf.matmul(c, h),  # (B, 1, L, N) (B, 1, N, D) -> (B, 1, L, D)
    "sum_tokens": _sum_tokens,
    "mean": lambda node, w, x: tf.reduce_mean(x, axis=[1, 2], keepdims=bool(node.attributes["keep"])),
    "concat": lambda node, w, *xs: tf.concat(xs, axis=-1),
}
