"""Weights of a TFLite file in half precision, each widened by a DEQUANTIZE, as TensorFlow's own converter stores them.

The network's weights are values that float16 has. Where the converter has multiplied one by a number, or added one to a
bias, the result may be none: it is stored as it is, in float32. TensorFlow's converter would round it once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from exporters.tflite.depthwise import position

_WIDENS_HALF = 3
"""The first version of DEQUANTIZE that takes float16."""


def store(model: Any) -> int:
    """Store each constant of several elements in float16 that loses nothing by it, in place.

    Returns:
        How many there were.
    """
    graph = model.subgraphs[0]
    found = [index for index, tensor in enumerate(graph.tensors) if _fits(model, tensor)]
    code = position(model, schema.BuiltinOperator.DEQUANTIZE, _WIDENS_HALF) if found else -1
    graph.operators = [_widening(model, index, code) for index in found] + list(graph.operators)
    _empty_unused(model)
    return len(found)


def _empty_unused(model: Any) -> None:
    """Leave out what is now stored in float16; several tensors may have had one buffer."""
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors} | {each.buffer for each in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _fits(model: Any, tensor: Any) -> bool:
    values = _values(model, tensor)
    with np.errstate(over="ignore"):
        return values.size > 1 and np.array_equal(values.astype(np.float16).astype(np.float32), values)


def _values(model: Any, tensor: Any) -> Any:
    """A tensor's elements, flat; none where it is no constant of float32."""
    data = model.buffers[tensor.buffer].data
    is_constant = tensor.type == schema.TensorType.FLOAT32 and data is not None
    return np.frombuffer(bytes(data), np.float32) if is_constant else np.empty(0, np.float32)


def _widening(model: Any, index: int, code: int) -> Any:
    """The operation that gives a constant, which it takes in float16."""
    tensors = model.subgraphs[0].tensors
    widened, stored, buffer = tensors[index], schema.TensorT(), schema.BufferT()
    buffer.data = np.frombuffer(_values(model, widened).astype(np.float16).tobytes(), np.uint8)
    stored.name, stored.shape, stored.type = widened.name + b"_half", widened.shape, schema.TensorType.FLOAT16
    stored.buffer = len(model.buffers)
    model.buffers.append(buffer)
    widened.buffer = 0  # by convention an empty one
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [len(tensors)], [index]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.DequantizeOptions,
        schema.DequantizeOptionsT(),
    )
    tensors.append(stored)
    return operator
