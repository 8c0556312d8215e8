"""Store the weights of a TFLite file in half precision, each followed by DEQUANTIZE, as TensorFlow's converter does.

The network's weights are float16 values. Where the converter has multiplied a weight by a number, or added one to a
bias, the result may not be a float16 value and stays in float32. TensorFlow's converter would round it again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from exporters.tflite.depthwise import operator_code

_WIDENS_HALF = 3
"""The first version of DEQUANTIZE with float16 inputs."""


def store(model: Any) -> int:
    """Store in float16 each constant of several elements whose values float16 represents exactly, in place.

    Returns:
        The number of stored constants.
    """
    graph = model.subgraphs[0]
    constants = [index for index, tensor in enumerate(graph.tensors) if _fits(model, tensor)]
    code = operator_code(model, schema.BuiltinOperator.DEQUANTIZE, _WIDENS_HALF) if constants else -1
    graph.operators = [_dequantize(model, index, code) for index in constants] + list(graph.operators)
    _empty_unused(model)
    return len(constants)


def _empty_unused(model: Any) -> None:
    """Empty the buffers that no tensor uses any more; several tensors may have shared one."""
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors} | {each.buffer for each in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _fits(model: Any, tensor: Any) -> bool:
    values = _values(model, tensor)
    with np.errstate(over="ignore"):
        return values.size > 1 and np.array_equal(values.astype(np.float16).astype(np.float32), values)


def _values(model: Any, tensor: Any) -> Any:
    """Return the elements of a float32 constant, flat; an empty array for any other tensor."""
    data = model.buffers[tensor.buffer].data
    is_constant = tensor.type == schema.TensorType.FLOAT32 and data is not None
    return np.frombuffer(bytes(data), np.float32) if is_constant else np.empty(0, np.float32)


def _dequantize(model: Any, index: int, code: int) -> Any:
    """Return the DEQUANTIZE of a constant, which is stored in float16."""
    tensors = model.subgraphs[0].tensors
    widened, stored, buffer = tensors[index], schema.TensorT(), schema.BufferT()
    buffer.data = np.frombuffer(_values(model, widened).astype(np.float16).tobytes(), np.uint8)
    stored.name, stored.shape, stored.type = widened.name + b"_half", widened.shape, schema.TensorType.FLOAT16
    stored.buffer = len(model.buffers)
    model.buffers.append(buffer)
    widened.buffer = 0  # the empty buffer, by convention
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [len(tensors)], [index]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.DequantizeOptions,
        schema.DequantizeOptionsT(),
    )
    tensors.append(stored)
    return operator
