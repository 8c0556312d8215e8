"""A TFLite model that is written tensor by tensor: the tables of its flatbuffer, and what goes into them.

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
_LAST_OLD_CODE = 127  # of builtin operations that older readers know by one byte

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
class Quantised:
    """What integers stand for: scale * (code - zero point), with one scale, or one for each index of an axis."""

    scale: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


class ModelWriter:
    """A model of one subgraph, its tensors named by their indices.

    Attributes:
        model: As flatbuffers' object API has it.
    """

    def __init__(self) -> None:
        self.model: Any = schema.ModelT()
        self.model.version = _SCHEMA_VERSION
        self.model.buffers = [schema.BufferT()]  # the first is empty, and that of all tensors that are computed
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
        quantised: Quantised | None = None,
        data: npt.NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor, a constant where it has data; its index."""
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
        """A constant of int32: axes, a shape, paddings; its index."""
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
            type_: As the schema calls it.
            inputs: Tensors that it takes.
            outputs: Tensors that it gives.
            version: Of the operation: the least that knows these types.
            options: The schema's table of its options, less ``Options``.
            fields: Of this table.
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
        """The model, which takes and gives these tensors."""
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
