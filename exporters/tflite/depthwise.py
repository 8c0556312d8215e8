"""Depthwise convolutions of a TFLite file that are written as grouped ones, which is what onnx2tf 1.29 does of many.

XNNPACK takes a grouped convolution, but computes it slowly; LiteRT's own kernels and the GPU delegate refuse it.

    CONV_2D            kernel (O, h, w, 1), input (B, H, W, O / m)
    DEPTHWISE_CONV_2D  kernel (1, h, w, O), multiplier m
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_GROUPED, DEPTHWISE = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D

_HAS_DILATIONS = 2
"""The first version of DEPTHWISE_CONV_2D that has them."""

_SHARED = ("padding", "strideW", "strideH", "dilationWFactor", "dilationHFactor", "fusedActivationFunction")


def mend(model: Any) -> int:
    """Write each such convolution as what it is, in place.

    Returns:
        How many there were.
    """
    graph = model.subgraphs[0]
    code = position(model, _GROUPED)
    found = [each for each in graph.operators if each.opcodeIndex == code and _is_depthwise(graph.tensors, each)]
    turned: set[int] = set()
    for operator in found:
        if operator.inputs[1] not in turned:
            turned.add(operator.inputs[1])
            _turn(model, graph.tensors[operator.inputs[1]])
        _rewrite(model, operator)
    return len(found)


def _is_depthwise(tensors: Any, operator: Any) -> bool:
    image, kernel = (tensors[index].shape for index in operator.inputs[:2])
    return image[3] != 1 and kernel[3] == 1 and kernel[0] % image[3] == 0


def _turn(model: Any, tensor: Any) -> None:
    """(O, h, w, 1) -> (1, h, w, O)"""
    buffer = model.buffers[tensor.buffer]
    kernel = np.frombuffer(buffer.data.tobytes(), np.float32).reshape(tensor.shape)
    turned = np.ascontiguousarray(kernel.transpose(3, 1, 2, 0))
    buffer.data = np.frombuffer(turned.tobytes(), np.uint8)
    tensor.shape = list(turned.shape)


def _rewrite(model: Any, operator: Any) -> None:
    tensors = model.subgraphs[0].tensors
    options = schema.DepthwiseConv2DOptionsT()
    for name in _SHARED:
        setattr(options, name, getattr(operator.builtinOptions, name))
    options.depthMultiplier = int(tensors[operator.inputs[1]].shape[3] // tensors[operator.inputs[0]].shape[3])
    operator.builtinOptions = options
    operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    operator.opcodeIndex = position(model, DEPTHWISE)


def position(model: Any, builtin: int, version: int = _HAS_DILATIONS) -> int:
    """Where an operation stands in the file's list of those that it uses, to which it is added."""
    for index, each in enumerate(model.operatorCodes):
        if max(each.builtinCode, each.deprecatedBuiltinCode) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
