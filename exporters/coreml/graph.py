"""Core ML: an ML Program for iOS 16 or later, built in MIL operation by operation, channels-first.

Maps and states are rank 4, (B, D, H, W) and (B, D, 1, N), which is what the Neural Engine lays out
well; tokens are a rank-3 view for the two matrix products. More of them than an axis of the Neural
Engine may have stay a map, and the products are made of some of its rows at a time. The channel
LayerNorm is one layer_norm over axis 1. A classifier takes an image and gives a label and a
dictionary, so that Vision and Xcode's preview take it; every other output is a float16 array in an
fp16 package. What is not fp16 there is the cast of the input and, in a classifier, that of the
probabilities: ``classify`` is defined on fp32 alone.

Operations: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.mil import types

from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.formats.coreml import MAIN, model_path, read_spec
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.quantise.apply import VIEWS
from evim_deploy.quantise.schemes import scheme
from exporters.coreml import package as coreml_package
from exporters.coreml import tokens as coreml_tokens
from exporters.coreml.quantised import DEQUANTIZED, EXACT, QUANTIZED, decoded, on_grid

DEPLOYMENT_TARGETS = {"iOS16": ct.target.iOS16, "iOS17": ct.target.iOS17, "iOS18": ct.target.iOS18}
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


def build(graph: Graph, target: Target, path: Path) -> Signature:
    """Write a graph as an .mlpackage; one of several functions holds the weights that they share once.

    One RGB image of pixels 0-255 is an image input; a batch of them, or a normalised tensor, is a
    float32 array. One image's probabilities make a classifier; anything else gives arrays.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    contract = _build_functions(graph, target, path) if target.functions else _build_function(graph, target, path)
    coreml_package.settle(path)
    return contract


def _build_functions(graph: Graph, target: Target, path: Path) -> Signature:
    contracts = {}
    functions = ct.utils.MultiFunctionDescriptor()
    with TemporaryDirectory(dir=path.parent) as folder:
        for name, function in target.of_functions().items():
            package = Path(folder, name).with_suffix(path.suffix)
            contracts[name] = _build_function(graph, function, package)
            functions.add_function(str(package), MAIN, name)
        default = functions.default_function_name = next(iter(contracts))
        ct.utils.save_multifunction(functions, str(path))
    return replace(contracts[default], functions=contracts)


def _build_function(graph: Graph, target: Target, path: Path) -> Signature:
    program = _program(graph, fixed_shape(target), system_of(target))
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


def system_of(target: Target) -> ct.target:
    """The oldest that a target is for."""
    return DEPLOYMENT_TARGETS[target.deployment_target or "iOS16"]


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
    return [ct.TensorType(name=name, dtype=_PRECISIONS[floats_of(target)][1]) for name in names]


def floats_of(target: Target) -> str:
    """What a target stores and computes in where it has no integers, ``fp16`` or ``fp32``."""
    found = scheme(target.format, target.precision)
    return found.floats if found else target.precision


def convert(network: Any, target: Target, path: Path, **how: Any) -> Signature:
    """Write what coremltools converts as an .mlpackage of one function; ``how`` are its own arguments."""
    labelled = is_classifier(target)
    with _existing_objects_frozen():
        model = ct.convert(
            network,
            convert_to="mlprogram",
            classifier_config=(
                ct.ClassifierConfig(list(target.labels), predicted_feature_name=CLASS_LABEL) if labelled else None
            ),
            minimum_deployment_target=system_of(target),
            compute_precision=_PRECISIONS[floats_of(target)][0],
            skip_model_load=True,
            **how,
        )
    model.save(str(path))
    return _contract(path, target, fixed_shape(target))


@contextmanager
def _existing_objects_frozen() -> Iterator[None]:
    """Exclude the objects that exist already from Python's garbage collection.

    coremltools runs a full collection in each conversion. With torch and TensorFlow imported, one takes 0.4 s, which is
    most of the conversion of a small network.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def annotate(path: Path, metadata: Mapping[str, str], facts: ArtifactInfo) -> None:
    """Put metadata and the texts for people where Xcode shows them."""
    spec = read_spec(path)
    shown = spec.description.metadata
    texts = describe_artifact(facts)
    shown.shortDescription = texts.description
    shown.author, shown.license, shown.versionString = texts.author, texts.licence, texts.version
    shown.userDefined.update(metadata)
    for function in (spec.description, *spec.description.functions):
        for feature in (*function.input, *function.output):
            feature.shortDescription = texts.ports.get(feature.name, "")
        if function.predictedFeatureName:
            shown.userDefined[_PREVIEW_KEY] = "imageClassifier"
    model_path(path).write_bytes(coreml_package.to_bytes(spec))


def _contract(path: Path, target: Target, shape: tuple[int, ...]) -> Signature:
    description = read_spec(path).description
    (image,) = description.input
    kind = "image" if image.type.WhichOneof("Type") == "imageType" else "float32"
    inputs = (
        TensorSpec(
            name=image.name,
            shape=shape,
            dtype=kind,
            layout="RGB" if kind == "image" else "NCHW",
            range=target.input_range,
        ),
    )
    if description.predictedFeatureName:
        return Signature(
            inputs,
            (
                TensorSpec(name=CLASS_LABEL, shape=(), dtype="string", layout="scalar", range=None),
                TensorSpec(
                    name=CLASS_PROBABILITIES,
                    shape=(len(target.labels),),
                    dtype="dictionary",
                    layout="label: probability",
                    range=(0.0, 1.0),
                ),
            ),
        )
    outputs = []
    for feature in description.output:
        array = feature.type.multiArrayType
        dtype = array.ArrayDataType.Name(array.dataType).lower()
        outputs.append(
            TensorSpec(
                name=feature.name,
                shape=tuple(array.shape),
                dtype=dtype,
                layout="NCHW"[: len(array.shape)],
                range=target.output_range,
            )
        )
    return Signature(inputs, tuple(outputs))


def _program(graph: Graph, shape: tuple[int, ...], system: ct.target) -> Any:
    """The graph as a MIL program in float32; the conversion rounds it."""

    def compute(image: Any) -> Any:
        values = {graph.input_name: image}
        if graph.input_name in graph.qparams:
            grid, name = graph.qparams[graph.input_name], graph.input_name
            values[name] = on_grid(image, grid, name + DEQUANTIZED, name + QUANTIZED)
        renamed = {value: name for name, value in graph.outputs.items()}
        for node in graph.nodes:
            name = renamed.get(node.name, node.name)
            is_rounded = node.name in graph.qparams and node.op not in VIEWS  # a view is of what is rounded already
            inputs = (values[value] for value in node.inputs)
            results = _HANDLERS[node.op](node, name + EXACT if is_rounded else name, *inputs)
            if is_rounded:
                results = on_grid(results, graph.qparams[node.name], name, name + QUANTIZED)
            values.update(zip(node.outputs, results if isinstance(results, list | tuple) else [results], strict=True))
        return tuple(values[value] for value in graph.outputs.values())

    spec = mb.TensorSpec(shape=shape, dtype=types.fp32)
    return mb.program(input_specs=[spec], opset_version=system)(compute)


def _float32(array: Any) -> Any:
    return array.astype(np.float32)


def _per_channel(parameter: Any, x: Any) -> Any:
    return _float32(parameter).reshape(1, -1, *(1,) * (x.rank - 2))


def _kernel(node: Node, name: str, axes: int) -> Any:
    """Of so many axes; what is in few bits is decoded by an operation of its own."""
    encoding = node.encodings.get("kernel")
    if encoding is not None:
        return decoded(encoding, axes, f"{name}_kernel")
    kernel = _float32(node.weights["kernel"])
    return kernel.reshape(*kernel.shape, *(1,) * (axes - kernel.ndim))


def _conv(node: Node, name: str, x: Any) -> Any:
    padding = node.integer("padding")
    return mb.conv(
        x=x,
        weight=_kernel(node, name, 4),
        **({"bias": _float32(node.weights["bias"])} if "bias" in node.weights else {}),
        strides=[node.integer("stride")] * 2,
        pad_type="custom" if padding else "valid",
        **({"pad": [padding] * 4} if padding else {}),
        groups=node.integer("groups"),
        name=name,
    )


def _linear(node: Node, name: str, x: Any) -> Any:
    return mb.linear(x=x, weight=_kernel(node, name, 2), bias=_float32(node.weights["bias"]), name=name)


def _split(node: Node, name: str, x: Any) -> Any:
    return mb.split(x=x, split_sizes=list(node.sections()), axis=1, name=name)


_HANDLERS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "pointwise_conv": lambda node, name, x: mb.conv(x=x, weight=_kernel(node, name, 4), name=name),
    "linear": _linear,
    "layer_norm": lambda node, name, x: mb.layer_norm(x=x, axes=[1], epsilon=node.eps(), name=name),
    "scale": lambda node, name, x: mb.mul(x=x, y=_per_channel(node.weights["scale"], x), name=name),
    "shift": lambda node, name, x: mb.add(x=x, y=_per_channel(node.weights["bias"], x), name=name),
    "add": lambda node, name, x, y: mb.add(x=x, y=y, name=name),
    "multiply": lambda node, name, x, y: mb.mul(x=x, y=y, name=name),
    "relu": lambda node, name, x: mb.relu(x=x, name=name),
    "sigmoid": lambda node, name, x: mb.sigmoid(x=x, name=name),
    "silu": lambda node, name, x: mb.silu(x=x, name=name),
    "softmax_tokens": coreml_tokens.softmax_tokens,
    "softmax_channels": lambda node, name, x: mb.softmax(x=x, axis=1, name=name),
    "split": _split,
    "flatten": coreml_tokens.flatten,
    "unflatten": coreml_tokens.unflatten,
    "state_update": coreml_tokens.write,
    "state_readout": coreml_tokens.read,
    "sum_tokens": coreml_tokens.sum_tokens,
    "mean": lambda node, name, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=bool(node.attributes["keep"]), name=name),
    "concat": lambda node, name, *xs: mb.concat(values=xs, axis=1, name=name),
}
