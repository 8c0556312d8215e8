"""What the integers in a TFLite file stand for, and the same file with weights decoded that floats are taken with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ALIGNMENT = 16  # bytes: force_align of Buffer.data in TFLite's schema

INTEGER_ROUNDING = 2.0**-15
"""Unit roundoff of the 16-bit factor by which kernels of 16-bit values rescale their sums; those of 8 bits have 31.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/internal/common.cc, reduced_multiplier
"""


def decoded(tensor: Any, data: npt.NDArray[np.uint8] | None) -> npt.NDArray[Any] | None:
    """The weights in a tensor, float16 or float32, integers as what they stand for; None where it has none."""
    from ai_edge_litert import schema_py_generated as schema

    dtypes = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    dtype = dtypes[tensor.type]
    if data is None or dtype not in ("float32", "float16", "int8", "int32", "int64"):
        return None
    array: npt.NDArray[Any] = data.view(dtype)
    if dtype.startswith("float"):
        return array.reshape(tensor.shape)
    quantised = tensor.quantization
    if quantised is None or quantised.scale is None:
        return None  # axes and shapes
    axes = [-1 if axis == quantised.quantizedDimension else 1 for axis in range(len(tensor.shape))]
    scale = quantised.scale if len(quantised.scale) == 1 else quantised.scale.reshape(axes)
    return np.asarray(array.reshape(tensor.shape) * scale, np.float32)


def without_run_time_grids(content: bytes) -> bytes:
    """Let operations that give floats take the floats that their weights stand for: they round nothing else then."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for op in graph.operators:
        if graph.tensors[op.outputs[0]].type == schema.TensorType.FLOAT32:
            for index in op.inputs:
                tensor = graph.tensors[index]
                if tensor.type == schema.TensorType.INT8 and model.buffers[tensor.buffer].data is not None:
                    _decode(model, tensor)
    return _packed(model)


def _decode(model: Any, tensor: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    weights = decoded(tensor, model.buffers[tensor.buffer].data)
    if weights is None:
        return
    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(weights).ravel().view(np.uint8)
    tensor.type, tensor.quantization, tensor.buffer = schema.TensorType.FLOAT32, None, len(model.buffers)
    model.buffers.append(buffer)


def _packed(model: Any) -> bytes:
    from flatbuffers import Builder

    class Aligned(Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802, the base class's name
            self.Prep(_ALIGNMENT, x.nbytes)
            return super().CreateNumpyVector(x)

    builder = Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
