"""Small Core ML packages for tests, and ways to change their content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy.formats.coreml import model_path
from evim_deploy.formats.protobuf import core_ml

SIDE = 8
LABELS = ("zebra", "apple", "Größe")
WEIGHTS = {
    "conv_weight": np.random.RandomState(0).randn(6, 3, 3, 3).astype(np.float32),
    "conv_bias": np.random.RandomState(1).randn(6).astype(np.float32),
    "linear_weight": np.random.RandomState(2).randn(3, 6).astype(np.float32),
    "linear_bias": np.random.RandomState(3).randn(3).astype(np.float32),
}


def classifier(path: Path, half: bool = False, shape: Any = (1, 3, SIDE, SIDE), colors: str = "RGB") -> None:
    """Write a classifier of images: a convolution, a norm, a mean, a linear layer and a softmax."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    weights = WEIGHTS if colors != "GRAYSCALE" else {**WEIGHTS, "conv_weight": WEIGHTS["conv_weight"][:, :1]}

    @mb.program(input_specs=[mb.TensorSpec(shape=tuple(shape))], opset_version=ct.target.iOS16)
    def program(image: Any) -> Any:
        x = mb.conv(
            x=mb.mul(x=image, y=np.float32(1 / 255)),
            weight=weights["conv_weight"],
            bias=weights["conv_bias"],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
        )
        x = mb.layer_norm(x=mb.relu(x=x), axes=[1], epsilon=np.float32(1e-3))
        x = mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False)
        x = mb.linear(x=x, weight=weights["linear_weight"], bias=weights["linear_bias"])
        return mb.softmax(x=x, axis=-1, name="probabilities")

    model = ct.convert(
        program,
        inputs=[ct.ImageType(name="image", shape=shape, color_layout=getattr(ct.colorlayout, colors))],
        classifier_config=ct.ClassifierConfig(list(LABELS)),
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(path))


def probabilities(image: Any, rounded: Callable[[Any], Any] = np.float64) -> Any:
    """Compute the classifier for an image (C, H, W) in float64 with rounded constants."""
    weights = {name: rounded(array) for name, array in WEIGHTS.items()}
    padded = np.pad(image * rounded(1 / 255), [(0, 0), (1, 1), (1, 1)])
    weight = weights["conv_weight"][:, : len(image)]
    out = (image.shape[1] - 1) // 2 + 1, (image.shape[2] - 1) // 2 + 1
    x = np.zeros((6, *out))
    for i, j in np.ndindex(*out):
        window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        x[:, i, j] = np.maximum(np.tensordot(weight, window, 3) + weights["conv_bias"], 0)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + rounded(1e-3))
    logits = weights["linear_weight"] @ x.mean((1, 2)) + weights["linear_bias"]
    return np.exp(logits) / np.exp(logits).sum()


def pixels(seed: int, *sides: int) -> Any:
    """Make random RGB pixels (1, 3, *sides) from 0 to 255."""
    return np.random.RandomState(seed).randint(0, 256, (1, 3, *(sides or (SIDE, SIDE)))).astype(np.float32)


def changed(source: Path, target: Path, change: Callable[[Any], Any], function: str = "main") -> Path:
    """Copy a package and change its program (the block of its operations) or its description."""
    shutil.copytree(source, target)
    spec = core_ml("Model_pb2").Model.FromString(model_path(target).read_bytes())
    body = spec.mlProgram.functions[function]
    change(Program(spec, body.block_specializations[body.opset]))
    model_path(target).write_bytes(spec.SerializeToString())
    return target


class Program:
    """The message of a model and the message of its operations, to be changed."""

    def __init__(self, spec: Any, block: Any) -> None:
        self.spec, self.block = spec, block

    def operation(self, kind: str) -> Any:
        return next(op for op in self.block.operations if op.type == kind)

    def value(self, kind: str, parameter: str) -> Any:
        """Return the message of the constant of a parameter of an operation."""
        binding = self.operation(kind).inputs[parameter].arguments[0]
        if binding.WhichOneof("binding") == "value":
            return binding.value
        return next(op for op in self.block.operations if op.outputs[0].name == binding.name).attributes["val"]

    def integers(self, kind: str, parameter: str, *values: int) -> None:
        """Replace the integers of a parameter."""
        self.value(kind, parameter).immediateValue.tensor.ints.values[:] = values
