"""Quantised values of TFLite files: tensors to and from integers, and a file with dequantised weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

AnyArray = npt.NDArray[np.generic]

Quantised = tuple[float, int]
"""Scale and zero point of a tensor as the interpreter reports them; the scale is 0 if the tensor is not quantised."""

INTEGER_ROUNDING = 2.0**-15
"""Unit roundoff of the 16-bit multiplier that kernels of 16-bit values rescale their sums by; that of 8-bit kernels
has 31 bits.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/internal/common.cc, reduced_multiplier
"""


def quantise(values: npt.NDArray[np.float32], dtype: npt.DTypeLike, parameters: Quantised) -> AnyArray:
    """Return float32 values as a tensor of a type stores them: unchanged if it is not quantised."""
    scale, zero_point = parameters
    if not np.issubdtype(dtype, np.integer) or not scale:
        return values
    limits = np.iinfo(np.dtype(dtype))
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantise(array: AnyArray, parameters: Quantised) -> npt.NDArray[np.float32]:
    """Return the values of a tensor as float32, dequantised if it is quantised."""
    scale, zero_point = parameters
    if not np.issubdtype(array.dtype, np.integer) or not scale:
        return array.astype(np.float32, copy=False)
    return (array.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def weights_of(tensor: schema.TensorT, data: npt.NDArray[np.uint8] | None) -> AnyArray | None:
    """Return the constant floats of a tensor, float16 or float32, dequantised; None if it has none.

    Args:
        tensor: The tensor.
        data: Its buffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    dtypes = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    dtype = dtypes[tensor.type]
    if data is None or dtype not in ("float32", "float16", "int8", "int32", "int64"):
        return None
    array: AnyArray = data.view(dtype)
    if dtype.startswith("float"):
        return array.reshape(tensor.shape)
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None:
        return None  # axes and shapes
    axes = [-1 if axis == parameters.quantizedDimension else 1 for axis in range(len(tensor.shape))]
    scale = parameters.scale if len(parameters.scale) == 1 else parameters.scale.reshape(axes)
    return np.asarray(array.reshape(tensor.shape) * scale, np.float32)


def with_float_weights(content: bytes) -> bytes:
    """Return a file in which operations with float outputs have float weights, so that they quantise no input.

    Their kernels would otherwise quantise the floats of their input at run time.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for op in graph.operators:
        if graph.tensors[op.outputs[0]].type == schema.TensorType.FLOAT32:
            for index in op.inputs:
                tensor = graph.tensors[index]
                if tensor.type == schema.TensorType.INT8 and model.buffers[tensor.buffer].data is not None:
                    _dequantise_weights(model, tensor)
    from evim_deploy.formats.tflite_writer import pack

    return pack(model)


def _dequantise_weights(model: schema.ModelT, tensor: schema.TensorT) -> None:
    from ai_edge_litert import schema_py_generated as schema

    weights = weights_of(tensor, model.buffers[tensor.buffer].data)
    if weights is None:
        return
    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(weights).ravel().view(np.uint8)
    tensor.type, tensor.quantization, tensor.buffer = schema.TensorType.FLOAT32, None, len(model.buffers)
    model.buffers.append(buffer)
