"""Write our graph as Core ML: an ML Program for iOS 16 or later, built operation by operation in MIL, channels-first.

Maps and states are rank 4, (B, D, H, W) and (B, D, 1, N), the layout that suits the Neural Engine; tokens are a rank-3
view for the two matrix products. Tokens that exceed the longest axis of the Neural Engine stay a map, and each product
is computed over a few rows at a time. The channel LayerNorm is one layer_norm over axis 1. A classifier has an image
input, a label and a dictionary, as Vision and Xcode's preview require. Every other output is an array, float16 in an
fp16 package. Such a package has fp32 values in two places: the cast of the input and, in a classifier, the cast of the
probabilities, because ``classify`` is defined for fp32 only.

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
from evim_deploy.catalog.terms import Output
from evim_deploy.formats.coreml import MAIN, model_path, read_spec
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import INTEGER_FORM_OPS
from evim_deploy.quantise.placement import VIEWS
from evim_deploy.quantise.schemes import find_scheme
from exporters.coreml import package as coreml_package
from exporters.coreml import tokens as coreml_tokens
from exporters.coreml.quantised import DEQUANTIZED, EXACT, QUANTIZED, dequantised, fake_quantise

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
"""The passes that change our programs, of the 95 that coremltools runs by default."""

_PREVIEW_KEY = "com.apple.coreml.model.preview.type"  # selects Xcode's preview


def build(graph: Graph, target: Target, path: Path) -> Signature:
    """Write a graph as an .mlpackage; several functions share one copy of the weights.

    A single RGB image (pixels 0-255) is an image input; a batch or a normalised tensor is a float32 array input. The
    probabilities of a single image make a classifier; all other outputs are arrays.

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    signature = _build_functions(graph, target, path) if target.functions else _build_function(graph, target, path)
    coreml_package.make_deterministic(path)
    return signature


def _build_functions(graph: Graph, target: Target, path: Path) -> Signature:
    signatures = {}
    functions = ct.utils.MultiFunctionDescriptor()
    with TemporaryDirectory(dir=path.parent) as folder:
        for name, function in target.of_functions().items():
            package = Path(folder, name).with_suffix(path.suffix)
            signatures[name] = _build_function(graph, function, package)
            functions.add_function(str(package), MAIN, name)
        default = functions.default_function_name = next(iter(signatures))
        ct.utils.save_multifunction(functions, str(path))
    return replace(signatures[default], functions=signatures)


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
    """Return the minimum deployment target."""
    return DEPLOYMENT_TARGETS[target.deployment_target or "iOS16"]


def fixed_shape(target: Target) -> tuple[int, int, int, int]:
    """Return the shape of a target's images, (B, 3, H, W).

    Raises:
        ValueError: The target's batch, height or width is dynamic.
    """
    if target.batch is None or target.height is None or target.width is None:
        raise ValueError("a Core ML package needs fixed shapes")
    return target.batch, 3, target.height, target.width


def is_classifier(target: Target) -> bool:
    """Return whether the outputs are a label and a dictionary instead of an array."""
    return target.output == Output.PROBABILITIES and target.batch == 1


def input_type(target: Target, name: str) -> Any:
    """Return coremltools' input type for a target's images."""
    shape = fixed_shape(target)
    if target.preprocess and target.batch == 1:
        return ct.ImageType(name=name, shape=shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=name, shape=shape, dtype=np.float32)


def output_types(target: Target, names: Iterable[str]) -> list[Any]:
    """Return coremltools' output types for array outputs."""
    return [ct.TensorType(name=name, dtype=_PRECISIONS[floats_of(target)][1]) for name in names]


def floats_of(target: Target) -> str:
    """Return the float type of everything that is not quantised, ``fp16`` or ``fp32``."""
    scheme = find_scheme(target.format, target.precision)
    return scheme.float_precision if scheme else target.precision


def convert(network: Any, target: Target, path: Path, **options: Any) -> Signature:
    """Convert a network by coremltools to an .mlpackage with one function; ``options`` are arguments of ct.convert."""
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
            **options,
        )
    model.save(str(path))
    return _signature(path, target, fixed_shape(target))


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


def annotate(path: Path, metadata: Mapping[str, str], info: ArtifactInfo) -> None:
    """Write metadata, and descriptions to the fields that Xcode shows."""
    spec = read_spec(path)
    shown = spec.description.metadata
    texts = describe_artifact(info)
    shown.shortDescription = texts.description
    shown.author, shown.license, shown.versionString = texts.author, texts.licence, texts.version
    shown.userDefined.update(metadata)
    for function in (spec.description, *spec.description.functions):
        for feature in (*function.input, *function.output):
            feature.shortDescription = texts.ports.get(feature.name, "")
        if function.predictedFeatureName:
            shown.userDefined[_PREVIEW_KEY] = "imageClassifier"
    model_path(path).write_bytes(coreml_package.to_bytes(spec))


def _signature(path: Path, target: Target, shape: tuple[int, ...]) -> Signature:
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
    """Build the graph as a MIL program in float32; the conversion rounds it."""

    def compute(image: Any) -> Any:
        values = {graph.input_name: image}
        if graph.input_name in graph.qparams:
            params, name = graph.qparams[graph.input_name], graph.input_name
            values[name] = fake_quantise(image, params, name + DEQUANTIZED, name + QUANTIZED)
        renamed = {value: name for name, value in graph.outputs.items()}
        for node in graph.nodes:
            name = renamed.get(node.name, node.name)
            is_quantised = (
                node.name in graph.qparams and node.op not in VIEWS
            )  # a view of a quantised value is quantised already
            inputs = (values[value] for value in node.inputs)
            results = HANDLERS[node.op](node, name + EXACT if is_quantised else name, *inputs)
            if is_quantised:
                results = fake_quantise(results, graph.qparams[node.name], name, name + QUANTIZED)
            values.update(zip(node.outputs, results if isinstance(results, list | tuple) else [results], strict=True))
        return tuple(values[value] for value in graph.outputs.values())

    spec = mb.TensorSpec(shape=shape, dtype=types.fp32)
    return mb.program(input_specs=[spec], opset_version=system)(compute)


def _float32(array: Any) -> Any:
    return array.astype(np.float32)


def _per_channel(parameter: Any, x: Any) -> Any:
    return _float32(parameter).reshape(1, -1, *(1,) * (x.rank - 2))


def _kernel(node: Node, name: str, axes: int) -> Any:
    """Return a kernel with a number of axes; a quantised kernel is dequantised by an operation of its own."""
    encoding = node.encodings.get("kernel")
    if encoding is not None:
        return dequantised(encoding, axes, f"{name}_kernel")
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


HANDLERS: dict[str, Callable[..., Any]] = {
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
    "state_update": coreml_tokens.state_update,
    "state_readout": coreml_tokens.state_readout,
    "sum_tokens": coreml_tokens.sum_tokens,
    "mean": lambda node, name, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=bool(node.attributes["keep"]), name=name),
    "concat": lambda node, name, *xs: mb.concat(values=xs, axis=1, name=name),
}

REFUSED = {
    "batch_norm": "rewrites fold it into a convolution before export",
    **dict.fromkeys(INTEGER_FORM_OPS, "only integer forms contain it, for TFLite's int8"),
}
"""The other operations of a graph, each with the reason why no handler exists."""
