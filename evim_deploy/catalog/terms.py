"""The closed sets of words that a user and a manifest choose from."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """The task of an artifact."""

    CLASSIFY = "classify"
    FEATURES = "features"


class Output(StrEnum):
    """The output of an artifact: ``features`` are dense maps at strides 16, 32 and 64."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    FEATURES = "features"


class ArtifactFormat(StrEnum):
    """The format of an artifact's file."""

    COREML = "coreml"
    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """The precision of an artifact's weights and computation; :mod:`evim_deploy.quantise.schemes` defines each."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT16X8 = "int16x8"
    DYNAMIC = "dynamic"
    PAL8 = "pal8"
    PAL6 = "pal6"
    PAL4 = "pal4"
    INT4 = "int4"
    W8A8 = "w8a8"


UNQUANTISED = (Precision.FP32, Precision.FP16)
"""The precisions of every format, for networks of any kind."""


class Activation(StrEnum):
    """The function from logits to probabilities.

    ``softmax`` where an image belongs to one class, ``sigmoid`` where each class is present or absent (multi-label).
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class ModelKind(StrEnum):
    """The inference form of a network: our graph, or a torch module."""

    GRAPH = "graph"
    TORCH_MODULE = "torch_module"


class ModelFamily(StrEnum):
    """The origin of a network's definition: this package, the library timm, or an ONNX file.

    The names of timm's networks and of ONNX files begin with the family and a colon.
    """

    EFFICIENTVIM = "efficientvim"
    TIMM = "timm"
    ONNX = "onnx"
