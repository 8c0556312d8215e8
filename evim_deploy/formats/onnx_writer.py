"""Write an ONNX model: as one file, or with its weights in a second one where protobuf's limit asks for it.

A protobuf message holds 2 GiB at the most. Weights that leave no room below go into ``NAME.onnx.data`` beside the
model, which names it without a folder, so that the two can move together.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evim_deploy.common.publish import COMPANION_SUFFIX

Array = npt.NDArray[Any]

MOST_INSIDE = 2_000_000_000
"""Bytes of weights in the model's own file; the rest of the 2 GiB is for the graph and the labels."""

_SMALL = 1024  # bytes: shapes and axes stay where the checker and shape inference read them
_ALIGNMENT = 4096  # of each array, so that an engine can map it into memory


def is_large(weights: Iterable[Array]) -> bool:
    """Whether weights are too many for the model's own file."""
    return sum(array.nbytes for array in weights) > MOST_INSIDE


def save(model: Any, weights: Mapping[str, Array], path: Path) -> None:
    """Write a model that has no weights with those it is to have."""
    if is_large(weights.values()):
        with path.with_name(path.name + COMPANION_SUFFIX).open("wb") as data:
            model.graph.initializer.extend(_beside(weights, data))
    else:
        model.graph.initializer.extend(inside(weights))
    onnx.save(model, path)


def inside(weights: Mapping[str, Array]) -> Iterator[Any]:
    """Tensors that hold their weights themselves."""
    return (numpy_helper.from_array(array, name) for name, array in weights.items())


def _beside(weights: Mapping[str, Array], data: BinaryIO) -> Iterator[Any]:
    """Tensors that say where in a file their weights are, but for small ones."""
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
