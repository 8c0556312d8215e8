"""ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy import threads
from evim_deploy.contents.onnx_names import CHANNELS_LAST
from evim_deploy.errors import Damaged
from evim_deploy.machine import problem_of
from evim_deploy.trace import HALF, SINGLE, Arrays, Trace, TracedOperation
from runtimes import Array
from runtimes.onnxruntime import quantised

_TRACED_BYTES = 1 << 30
"""Of values that a trace holds at once; more are computed in several runs."""


class OrtSession:
    """An ONNX file in ONNX Runtime; its arrays are channels-first as they stand."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, session: Any) -> None:
        self._path = path
        self._session = session
        first = session.get_inputs()[0]
        self._input = first.name
        self._dtype = np.float16 if first.type == "tensor(float16)" else np.float32
        self._outputs = [output.name for output in session.get_outputs()]
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)

    def run(self, image: Array) -> dict[str, Array]:
        with _telling(self._path):
            values = self._session.run(self._outputs, {self._input: image.astype(self._dtype)})
        return {name: value.astype(np.float32) for name, value in zip(self._outputs, values, strict=True)}


@contextmanager
def open_session(path: Path, mode: str) -> Iterator[OrtSession]:
    """Load an ONNX file as it stands (``fp16``), or with every float16 in it widened to float32 (``fp32``).

    A quantised one is then computed in float32 operation by operation, rounded where the file says to a grid; what
    ONNX Runtime makes of it rounds at other places, too. Grids that are found when it runs are left out.

    Raises:
        BadInput: ONNX Runtime cannot read it.
    """
    if mode != "fp32":
        yield _load(path, path, optimise=True)
        return
    model = _read(path)
    yield _load_program(path, model, mode, optimise=not quantised.is_quantised(model))


def _load_program(path: Path, model: Any, mode: str, optimise: bool) -> OrtSession:
    """A model that was read from a file and changed; from memory where it fits a message of protobuf."""
    from onnx import numpy_helper

    from evim_deploy.contents import onnx_file

    with _telling(path):  # protobuf decodes a node's inputs when they are read
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        del model.graph.initializer[:]
        if mode == "fp32":
            _widen(model, weights)
            quantised.without_run_time_grids(model, weights)
    if not onnx_file.is_large(weights.values()):
        model.graph.initializer.extend(onnx_file.inside(weights))
        return _load(path, model.SerializeToString(), optimise)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        onnx_file.save(model, weights, changed)
        return _load(path, changed, optimise)


def _load(path: Path, content: bytes | Path, optimise: bool) -> OrtSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: a warning for each fp16 cast helps nobody
    options.intra_op_num_threads = threads.count()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _telling(path):
        return OrtSession(path, onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))


def _read(path: Path) -> Any:
    import onnx

    with _telling(path):
        return onnx.load(path)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell of whatever ONNX Runtime or onnx find wrong with a file in one message."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        yield
    except (*own, onnx.checker.ValidationError, DecodeError, ValueError, TypeError, IndexError, OSError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise problem_of(error) or Damaged(f"ONNX Runtime does not take {path}: {cause}") from None


def _widen(model: Any, weights: dict[str, npt.NDArray[Any]]) -> None:
    """Put float32 in place of float16: in weights, casts and declared types."""
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


def read_operations(path: Path, mode: str) -> tuple[TracedOperation, ...]:
    """The operations of an ONNX file, as they stand: nothing is fused or moved.

    Raises:
        BadInput: onnx cannot read it.
    """
    with _telling(path):
        return _operations(_read(path), mode)


def _operations(model: Any, mode: str) -> tuple[TracedOperation, ...]:
    from onnx import numpy_helper

    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    is_half = mode != "fp32" and any(array.dtype == np.float16 for array in weights.values())
    return tuple(
        TracedOperation(
            node.op_type,
            (node.output[0].partition("/")[0],),  # what an exporter adds to a name says which step it is
            quantised.decoded(node, weights),
            HALF if is_half else SINGLE,
            # on Arm it computes in half precision; elsewhere in float32, and it may pass on what it has not rounded
            HALF if is_half else SINGLE,
        )
        for node in model.graph.node
    )


def trace(path: Path, image: Array, mode: str) -> Trace:
    """The operations of an ONNX file, and what gives their values.

    Raises:
        BadInput: ONNX Runtime cannot read it.
    """
    import onnx

    operations = read_operations(path, mode)

    def compute(wanted: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        for batch in _batches(wanted):
            program = _read(path)
            names = {index: list(program.graph.node[index].output) for index in batch}
            del program.graph.output[:]
            program.graph.output.extend(onnx.ValueInfoProto(name=name) for each in names.values() for name in each)
            session = _load_program(path, program, mode, optimise=False)
            values = session.run(image)
            for index, each in names.items():
                yield index, tuple(_channels_first(name, values[name]) for name in each)

    return Trace(operations, compute)


def _channels_first(name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    is_last = name.endswith(CHANNELS_LAST)
    return (np.moveaxis(array, -1, 1) if is_last else array).astype(np.float32)


def _batches(wanted: Mapping[int, int]) -> Iterator[list[int]]:
    """Operations in groups whose values take no more than the limit together, or that are alone."""
    batch: list[int] = []
    for index, size in wanted.items():
        if batch and sum(wanted[each] for each in batch) + size > _TRACED_BYTES:
            yield batch
            batch = []
        batch.append(index)
    yield batch
