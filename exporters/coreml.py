"""Core ML: an ML Program for iOS 16, built in MIL operation by operation, channels-first.

Maps and states are rank 4, (B, D, H, W) and (B, D, 1, N), which is what the Neural Engine lays out
well; tokens are a rank-3 view for the two matrix products. The channel LayerNorm is one layer_norm
over axis 1. A classifier takes an image and gives a label and a dictionary, so that Vision and
Xcode's preview take it; every other output is a float16 array in an fp16 package. What is not fp16
there is the cast of the input and, in a classifier, that of the probabilities: ``classify`` is
defined on fp32 alone.

Operations: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.mil import types

from evim_deploy import __version__
from evim_deploy.artifact import Contract, Target, TensorSpec
from evim_deploy.contents.coreml import model_path, read_spec
from evim_deploy.graph import Graph, Node

TARGET_OS = ct.target.iOS16
CLASS_LABEL = "classLabel"
CLASS_PROBABILITIES = "classLabel_probs"

_PRECISIONS = {"fp32": (ct.precision.FLOAT32, np.float32), "fp16": (ct.precision.FLOAT16, np.float16)}
_PASSES = (
    "common::update_output_dtypes",
    "common::cast_optimization",
    "common::const_elimination",
    "common::add_fp16_cast",
    "common::update_output_dtypes",
    "common::const_elimination",
    "common::cast_optimization",
    "common::dead_code_elimination",
    "common::topological_reorder",
)
"""Of the 95 passes that coremltools runs by default those that change a program of ours."""

_PREVIEW_KEY = "com.apple.coreml.model.preview.type"  # what Xcode's preview goes by


def build(graph: Graph, target: Target, path: Path) -> Contract:
    """Write a graph as an .mlpackage.

    One RGB image of pixels 0-255 is an image input; a batch of them, or a normalised tensor, is a
    float32 array. One image's probabilities make a classifier; anything else gives arrays.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    program = _program(graph, fixed_shape(target))
    if not is_classifier(target):
        # ct.convert does not pass its own `outputs` on to a program that is given in MIL
        program.functions["main"].set_output_types(output_types(target, graph.outputs))
    return convert(
        program,
        target,
        path,
        source="milinternal",
        inputs=[input_type(target, graph.input_name)],
        pass_pipeline=ct.PassPipeline(list(_PASSES), "evim_deploy"),
    )


def fixed_shape(target: Target) -> tuple[int, int, int, int]:
    """Of a target's images, (B, 3, H, W).

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a Core ML package has fixed shapes")
    return target.batch, 3, target.height, target.width


def is_classifier(target: Target) -> bool:
    """Whether it gives a label and a dictionary instead of an array."""
    return target.output == "probabilities" and target.batch == 1


def input_type(target: Target, name: str) -> Any:
    """Of a target's images, as coremltools describes it."""
    shape = fixed_shape(target)
    if target.preprocess and target.batch == 1:
        return ct.ImageType(name=name, shape=shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=name, shape=shape, dtype=np.float32)


def output_types(target: Target, names: Iterable[str]) -> list[Any]:
    """Of outputs that are arrays, likewise."""
    return [ct.TensorType(name=name, dtype=_PRECISIONS[target.precision][1]) for name in names]


def convert(network: Any, target: Target, path: Path, **how: Any) -> Contract:
    """Write what coremltools converts as an .mlpackage; ``how`` are its own arguments."""
    labelled = is_classifier(target)
    model = ct.convert(
        network,
        convert_to="mlprogram",
        classifier_config=(
            ct.ClassifierConfig(list(target.labels), predicted_feature_name=CLASS_LABEL) if labelled else None
        ),
        minimum_deployment_target=TARGET_OS,
        compute_precision=_PRECISIONS[target.precision][0],
        skip_model_load=True,
        **how,
    )
    model.save(str(path))
    for member in path.rglob("*"):  # coremltools leaves its temporary files' modes, for their owner alone
        shutil.copymode(path if member.is_dir() else path / "Manifest.json", member)
    return _contract(path, target, fixed_shape(target))


def annotate(path: Path, metadata: Mapping[str, str], description: str) -> None:
    """Put metadata and the description where Xcode shows them."""
    spec = read_spec(path)
    spec.description.metadata.shortDescription = description
    spec.description.metadata.author = f"evim-deploy {__version__}"
    spec.description.metadata.userDefined.update(metadata)
    if spec.description.predictedFeatureName:
        spec.description.metadata.userDefined[_PREVIEW_KEY] = "imageClassifier"
    model_path(path).write_bytes(spec.SerializeToString())


def _contract(path: Path, target: Target, shape: tuple[int, ...]) -> Contract:
    description = read_spec(path).description
    (image,) = description.input
    kind = "image" if image.type.WhichOneof("Type") == "imageType" else "float32"
    inputs = (TensorSpec(image.name, shape, kind, "RGB" if kind == "image" else "NCHW", target.input_range),)
    if description.predictedFeatureName:
        return Contract(
            inputs,
            (
                TensorSpec(CLASS_LABEL, (), "string", "scalar", None),
                TensorSpec(CLASS_PROBABILITIES, (len(target.labels),), "dictionary", "label: probability", (0.0, 1.0)),
            ),
        )
    outputs = []
    for feature in description.output:
        array = feature.type.multiArrayType
        dtype = array.ArrayDataType.Name(array.dataType).lower()
        outputs.append(
            TensorSpec(feature.name, tuple(array.shape), dtype, "NCHW"[: len(array.shape)], target.output_range)
        )
    return Contract(inputs, tuple(outputs))


def _program(graph: Graph, shape: tuple[int, ...]) -> Any:
    """The graph as a MIL program in float32; the conversion rounds it."""

    def compute(image: Any) -> Any:
        values = {graph.input_name: image}
        renamed = {value: name for name, value in graph.outputs.items()}
        for node in graph.nodes:
            name = renamed.get(node.name, node.name)
            results = _HANDLERS[node.op](node, name, *(values[value] for value in node.inputs))
            values.update(zip(node.outputs, results if isinstance(results, list | tuple) else [results], strict=True))
        return tuple(values[value] for value in graph.outputs.values())

    spec = mb.TensorSpec(shape=shape, dtype=types.fp32)
    return mb.program(input_specs=[spec], opset_version=TARGET_OS)(compute)


def _float32(array: Any) -> Any:
    return array.astype(np.float32)


def _per_channel(parameter: Any, x: Any) -> Any:
    return _float32(parameter).reshape(1, -1, *(1,) * (x.rank - 2))


def _conv(node: Node, name: str, x: Any) -> Any:
    padding = node.integer("padding")
    return mb.conv(
        x=x,
        weight=_float32(node.weights["kernel"]),
        **({"bias": _float32(node.weights["bias"])} if "bias" in node.weights else {}),
        strides=[node.integer("stride")] * 2,
        pad_type="custom" if padding else "valid",
        **({"pad": [padding] * 4} if padding else {}),
        groups=node.integer("groups"),
        name=name,
    )


def _linear(node: Node, name: str, x: Any) -> Any:
    return mb.linear(x=x, weight=_float32(node.weights["kernel"]), bias=_float32(node.weights["bias"]), name=name)


def _split(node: Node, name: str, x: Any) -> Any:
    return mb.split(x=x, split_sizes=list(node.sections()), axis=1, name=name)


def _flatten(node: Node, name: str, x: Any) -> Any:
    batch, channels, height, width = x.shape
    return mb.reshape(x=x, shape=[batch, channels, height * width], name=name)  # (B, C, L)


def _write(node: Node, name: str, u: Any, w: Any) -> Any:
    return mb.expand_dims(x=mb.matmul(x=u, y=w, transpose_y=True), axes=[2], name=name)  # (B, D, 1, N)


def _read(node: Node, name: str, h: Any, c: Any) -> Any:
    return mb.matmul(x=mb.squeeze(x=h, axes=[2]), y=c, name=name)  # (B, D, N) (B, N, L) -> (B, D, L)


def _sum_tokens(node: Node, name: str, x: Any) -> Any:
    return mb.expand_dims(x=mb.reduce_sum(x=x, axes=[2], keep_dims=False), axes=[1, 2], name=name)  # (B, 1, 1, N)


_HANDLERS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "project": lambda node, name, x: mb.conv(x=x, weight=_float32(node.weights["kernel"])[..., None, None], name=name),
    "linear": _linear,
    "layer_norm": lambda node, name, x: mb.layer_norm(x=x, axes=[1], epsilon=node.eps(), name=name),
    "scale": lambda node, name, x: mb.mul(x=x, y=_per_channel(node.weights["factor"], x), name=name),
    "shift": lambda node, name, x: mb.add(x=x, y=_per_channel(node.weights["offset"], x), name=name),
    "add": lambda node, name, x, y: mb.add(x=x, y=y, name=name),
    "multiply": lambda node, name, x, y: mb.mul(x=x, y=y, name=name),
    "relu": lambda node, name, x: mb.relu(x=x, name=name),
    "sigmoid": lambda node, name, x: mb.sigmoid(x=x, name=name),
    "silu": lambda node, name, x: mb.silu(x=x, name=name),
    "softmax_tokens": lambda node, name, x: mb.softmax(x=x, axis=2, name=name),
    "softmax_channels": lambda node, name, x: mb.softmax(x=x, axis=1, name=name),
    "split": _split,
    "flatten": _flatten,
    "unflatten": lambda node, name, x, like: mb.reshape(x=x, shape=like.shape, name=name),  # (B, C, H, W)
    "write": _write,
    "read": _read,
    "sum_tokens": _sum_tokens,
    "mean": lambda node, name, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=bool(node.attributes["keep"]), name=name),
    "concat": lambda node, name, *xs: mb.concat(values=xs, axis=1, name=name),
}
