"""Write an ONNX model as one file, or with its weights in a second file if protobuf's limit requires it.

A protobuf message is limited to 2 GiB. Larger weights are written to ``NAME.onnx.data`` beside the model, which refers
to it without a folder, so that both can be moved together.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evim_deploy.common.publish import COMPANION_SUFFIX

Array = npt.NDArray[np.generic]

MOST_INSIDE = 2_000_000_000
"""Limit of the weights in the model's own file, bytes; the rest of the 2 GiB is for the graph and the labels."""

_SMALL = 1024  # bytes: shapes and axes stay in the model, for the checker and shape inference
_ALIGNMENT = 4096  # of each array, bytes, so that an engine can map it into memory


def is_large(weights: Iterable[Array]) -> bool:
    """Whether weights are too large for the model's own file."""
    return sum(array.nbytes for array in weights) > MOST_INSIDE


def save(model: onnx.ModelProto, weights: Mapping[str, Array], path: Path) -> None:
    """Add weights to a model without weights, and write it."""
    if is_large(weights.values()):
        with path.with_name(path.name + COMPANION_SUFFIX).open("wb") as data:
            model.graph.initializer.extend(_beside(weights, data))
    else:
        model.graph.initializer.extend(inside(weights))
    onnx.save(model, path)


def inside(weights: Mapping[str, Array]) -> Iterator[TensorProto]:
    """Tensors with embedded weights."""
    return (numpy_helper.from_array(array, name) for name, array in weights.items())


def _beside(weights: Mapping[str, Array], data: BinaryIO) -> Iterator[TensorProto]:
    """Tensors with external weights, except small ones."""
    for name, array in weights.items():
        if array.nbytes <= _SMALL:
            yield numpy_helper.from_array(array, name)
            continue
        data.write(bytes(-data.tell() % _ALIGNMENT))
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = TensorProto(name=name, dims=array.shape, data_type=dtype, data_location=TensorProto.EXTERNAL)
        where = {"location": Path(data.name).name, "offset": data.tell(), "length": array.nbytes}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        data.write(np.ascontiguousarray(array).data)
        yield tensor
