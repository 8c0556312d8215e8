"""Write a TFLite model tensor by tensor, by the tables of its flatbuffer.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorflow.lite.python import schema_py_generated as schema

_SCHEMA_VERSION = 3
_LAST_OLD_CODE = 127  # the last builtin operator that older readers know, whose field has one byte

_TYPES = {
    np.dtype(name): number
    for name, number in (
        ("float32", schema.TensorType.FLOAT32),
        ("int8", schema.TensorType.INT8),
        ("uint8", schema.TensorType.UINT8),
        ("int16", schema.TensorType.INT16),
        ("int32", schema.TensorType.INT32),
        ("int64", schema.TensorType.INT64),
    )
}


@dataclass(frozen=True)
class TensorQuantisation:
    """Quantisation parameters of a tensor: scale * (q - zero_point), one scale, or one for each index of an axis."""

    scale: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


class ModelWriter:
    """A model with one subgraph; its tensors are identified by their indices.

    Attributes:
        model: The model in flatbuffers' object API.
    """

    def __init__(self) -> None:
        self.model: Any = schema.ModelT()
        self.model.version = _SCHEMA_VERSION
        self.model.buffers = [schema.BufferT()]  # the first is empty; all computed tensors use it
        self.model.operatorCodes = []
        self._graph: Any = schema.SubGraphT()
        self._graph.name = b"main"
        self._graph.tensors, self._graph.operators = [], []
        self.model.subgraphs = [self._graph]
        self._codes: dict[tuple[int, int], int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        quantised: TensorQuantisation | None = None,
        data: npt.NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor, a constant if it has data, and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), _TYPES[np.dtype(dtype)]
        tensor.buffer = 0 if data is None else self._buffer(np.ascontiguousarray(data, dtype=dtype))
        if quantised is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = quantised.scale
            parameters.zeroPoint = np.full(quantised.scale.shape, quantised.zero_point, np.int64)
            parameters.quantizedDimension = quantised.axis
            tensor.quantization = parameters
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def integers(self, name: str, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        """Add an int32 constant (axes, a shape, paddings) and return its index."""
        array = np.array(values, np.int32)
        return self.tensor(name, array.shape, np.int32, data=array)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(axis) for axis in self._graph.tensors[tensor].shape)

    def operator(
        self,
        type_: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        version: int = 1,
        options: str = "",
        **fields: Any,
    ) -> None:
        """Add an operation.

        Args:
            type_: The schema's name of the operation.
            inputs: Indices of the input tensors.
            outputs: Indices of the output tensors.
            version: The lowest version of the operation that supports the tensors' types.
            options: The schema's table of options, without the suffix ``Options``.
            fields: The fields of this table.
        """
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, type_), version)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options:
            table = f"{options}Options"
            operator.builtinOptions = getattr(schema, f"{table}T")()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            for field, value in fields.items():
                setattr(operator.builtinOptions, field, value)
        self._graph.operators.append(operator)

    def close(self, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        """Set the inputs and outputs, and return the model."""
        self._graph.inputs, self._graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        return self.model

    def _buffer(self, data: npt.NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _code(self, number: int, version: int) -> int:
        key = number, version
        if key not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode = number, min(number, _LAST_OLD_CODE)
            code.version = version
            self._codes[key] = len(self._codes)
            self.model.operatorCodes.append(code)
        return self._codes[key]
