"""Replace grouped convolutions of a TFLite file by depthwise ones: onnx2tf 1.29 writes many depthwise ones as grouped.

XNNPACK computes a grouped convolution slowly; LiteRT's own kernels and the GPU delegate do not support it.

    CONV_2D            kernel (O, h, w, 1), input (B, H, W, O / m)
    DEPTHWISE_CONV_2D  kernel (1, h, w, O), multiplier m
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_GROUPED, DEPTHWISE = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D

_HAS_DILATIONS = 2
"""The first version of DEPTHWISE_CONV_2D with dilations."""

_SHARED = ("padding", "strideW", "strideH", "dilationWFactor", "dilationHFactor", "fusedActivationFunction")


def replace_grouped(model: Any) -> int:
    """Replace each grouped convolution that is a depthwise one, in place.

    Returns:
        The number of replaced convolutions.
    """
    graph = model.subgraphs[0]
    code = operator_code(model, _GROUPED)
    grouped = [each for each in graph.operators if each.opcodeIndex == code and _is_depthwise(graph.tensors, each)]
    transposed: set[int] = set()
    for operator in grouped:
        if operator.inputs[1] not in transposed:
            transposed.add(operator.inputs[1])
            _transpose_kernel(model, graph.tensors[operator.inputs[1]])
        _rewrite(model, operator)
    return len(grouped)


def _is_depthwise(tensors: Any, operator: Any) -> bool:
    image, kernel = (tensors[index].shape for index in operator.inputs[:2])
    return image[3] != 1 and kernel[3] == 1 and kernel[0] % image[3] == 0


def _transpose_kernel(model: Any, tensor: Any) -> None:
    """Transpose a kernel from (O, h, w, 1) to (1, h, w, O)."""
    buffer = model.buffers[tensor.buffer]
    kernel = np.frombuffer(buffer.data.tobytes(), np.float32).reshape(tensor.shape)
    transposed = np.ascontiguousarray(kernel.transpose(3, 1, 2, 0))
    buffer.data = np.frombuffer(transposed.tobytes(), np.uint8)
    tensor.shape = list(transposed.shape)


def _rewrite(model: Any, operator: Any) -> None:
    tensors = model.subgraphs[0].tensors
    options = schema.DepthwiseConv2DOptionsT()
    for name in _SHARED:
        setattr(options, name, getattr(operator.builtinOptions, name))
    options.depthMultiplier = int(tensors[operator.inputs[1]].shape[3] // tensors[operator.inputs[0]].shape[3])
    operator.builtinOptions = options
    operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    operator.opcodeIndex = operator_code(model, DEPTHWISE)


def operator_code(model: Any, builtin: int, version: int = _HAS_DILATIONS) -> int:
    """Return the index of an operation in the file's list of operator codes, adding it if needed."""
    for index, each in enumerate(model.operatorCodes):
        if max(each.builtinCode, each.deprecatedBuiltinCode) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
