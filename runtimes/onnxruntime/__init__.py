"""ONNX Runtime, the engine of ONNX files, on the CPU.

It owns sessions and traces of ONNX files, and the reading of their quantised weights.
It may import common, formats and artifact, and no other engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.artifact.trace import HALF, SINGLE, Arrays, Trace, TracedOperation
from evim_deploy.common import threads
from evim_deploy.common.errors import Damaged, first_line
from evim_deploy.common.system_errors import problem_of
from evim_deploy.formats.onnx_names import CHANNELS_LAST
from runtimes import Array
from runtimes.modes import Mode
from runtimes.onnxruntime import quantised

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_TRACED_BYTES = 1 << 30
"""Limit on the values that a trace holds at once; more are computed in several runs."""


class OrtSession:
    """An ONNX file in ONNX Runtime; its arrays are channels-first."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, session: onnxruntime.InferenceSession) -> None:
        self._path = path
        self._session = session
        first = session.get_inputs()[0]
        self._input = first.name
        self._dtype = np.float16 if first.type == "tensor(float16)" else np.float32
        self._outputs = [output.name for output in session.get_outputs()]
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)

    def run(self, image: Array) -> dict[str, Array]:
        with _as_damaged(self._path):
            values = self._session.run(self._outputs, {self._input: image.astype(self._dtype)})
        return {name: value.astype(np.float32) for name, value in zip(self._outputs, values, strict=True)}


@contextmanager
def open_session(path: Path, mode: Mode) -> Iterator[OrtSession]:
    """Load an ONNX file as it is (``fp16``), or with every float16 value cast to float32 (``fp32``).

    In ``fp32`` a quantised file is computed operation by operation, without ONNX Runtime's fusions, which round at
    other places, and no input is quantised at run time.

    Raises:
        BadInput: ONNX Runtime cannot read the file.
    """
    if mode != Mode.FP32:
        yield _load(path, path, optimise=True)
        return
    model = _read(path)
    yield _load_model(path, model, mode, optimise=not quantised.quantises(model))


def _load_model(path: Path, model: onnx.ModelProto, mode: Mode, optimise: bool) -> OrtSession:
    """Load a changed model of a file: from memory if it fits in a protobuf message, else from a temporary file."""
    from onnx import numpy_helper

    from evim_deploy.formats import onnx_writer

    with _as_damaged(path):  # protobuf decodes a node's inputs when they are read
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        del model.graph.initializer[:]
        if mode == Mode.FP32:
            _cast_to_float32(model, weights)
            quantised.replace_integer_products(model, weights)
    if not onnx_writer.is_large(weights.values()):
        with _as_damaged(path):  # protobuf refuses names that are not UTF-8
            model.graph.initializer.extend(onnx_writer.inside(weights))
        return _load(path, model.SerializeToString(), optimise)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        with _as_damaged(path):
            onnx_writer.save(model, weights, changed)
        return _load(path, changed, optimise)


def _load(path: Path, content: bytes | Path, optimise: bool) -> OrtSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: there is a warning for each fp16 cast
    options.intra_op_num_threads = threads.count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _as_damaged(path):
        return OrtSession(path, onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))


def _read(path: Path) -> onnx.ModelProto:
    import onnx

    with _as_damaged(path):
        return onnx.load(path)


@contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    """Report every fault that ONNX Runtime or onnx find in a file as :class:`Damaged`, with a message of one line."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except (*own, onnx.checker.ValidationError, DecodeError, ValueError, TypeError, IndexError, OSError) as error:
        raise problem_of(error) or Damaged(f"ONNX Runtime rejects {path}: {first_line(error)}.") from None


def _cast_to_float32(model: onnx.ModelProto, weights: dict[str, quantised.AnyArray]) -> None:
    """Replace float16 by float32 in weights, casts and declared types, in place."""
    from onnx import TensorProto

    for name, array in weights.items():
        if array.dtype == np.float16:
            weights[name] = array.astype(np.float32)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def read_operations(path: Path, mode: Mode) -> tuple[TracedOperation, ...]:
    """Return the operations of an ONNX file in their order, without fusions.

    Raises:
        BadInput: onnx cannot read the file.
    """
    with _as_damaged(path):
        return _operations(_read(path), mode)


def _operations(model: onnx.ModelProto, mode: Mode) -> tuple[TracedOperation, ...]:
    from onnx import numpy_helper

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    is_half = mode != Mode.FP32 and any(array.dtype == np.float16 for array in weights.values())
    return tuple(
        TracedOperation(
            type=node.op_type,
            names=(node.output[0].partition("/")[0],),  # after the slash an exporter names the step
            weights=quantised.weights_of(node, weights),
            rounding=HALF if is_half else SINGLE,
            # on Arm it computes in half precision; elsewhere in float32, and it may pass on unrounded values
            accumulation=HALF if is_half else SINGLE,
        )
        for node in model.graph.node
    )


def trace(path: Path, image: Array, mode: Mode) -> Trace:
    """Return the operations of an ONNX file and their values.

    Raises:
        BadInput: ONNX Runtime cannot read the file.
    """
    import onnx

    operations = read_operations(path, mode)

    def compute(requested: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        for batch in _batches(requested):
            model = _read(path)
            names = {index: list(model.graph.node[index].output) for index in batch}
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for outputs in names.values() for name in outputs)
            session = _load_model(path, model, mode, optimise=False)
            values = session.run(image)
            for index, outputs in names.items():
                yield index, tuple(_channels_first(name, values[name]) for name in outputs)

    return Trace(operations, compute)


def _channels_first(name: str, array: Array) -> npt.NDArray[np.float32]:
    is_last = name.endswith(CHANNELS_LAST)
    return (np.moveaxis(array, -1, 1) if is_last else array).astype(np.float32)


def _batches(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Yield groups of operations whose values fit the limit together; an operation over the limit is alone.

    Args:
        sizes: Bytes of the values of each operation, by its index.
    """
    batch: list[int] = []
    for index, size in sizes.items():
        if batch and sum(sizes[each] for each in batch) + size > _TRACED_BYTES:
            yield batch
            batch = []
        batch.append(index)
    yield batch
