"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy import threads
from evim_deploy.errors import BadInput, Damaged, NotRunHere
from evim_deploy.trace import SINGLE, Arrays, Trace, TracedOperation
from runtimes import Array
from runtimes.delegation import Delegation, Planned, delegation
from runtimes.litert.process import Crashed, LitertProcess, Refused
from runtimes.litert.quantised import INTEGER_ROUNDING, decoded, without_run_time_grids

_RUN_TIME = 2.0**-8
"""Unit roundoff of an operation that rounds floats to 8 bits when it runs, since its kernel has 8."""

_TRACED_BYTES = 8 << 30
"""Of values that a trace may hold: LiteRT gives those between input and output all at once or not at all."""


class LitertSession:
    """A TFLite file of one signature; images and maps are channels-last inside."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, process: LitertProcess, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        self._path = path
        self._process = process

    def run(self, image: Array) -> dict[str, Array]:
        channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))  # (B, H, W, 3)
        with _telling(self._path):
            outputs = self._process.run(channels_last)
        return {name: array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for name, array in outputs.items()}


@contextmanager
def open_session(path: Path, mode: str) -> Iterator[LitertSession]:
    """Load a TFLite file as it stands (``fp32``: on a CPU its floats are that), or without the grids that are found
    when it runs (``decoded``).

    Raises:
        BadInput: LiteRT cannot read it, or it has no named signature.
    """
    content = _as(mode, path)
    with _telling(path):
        process = LitertProcess(content, threads.count())
    with closing(process):
        with _telling(path):
            process.allocate()
            session = LitertSession(path, process, _metadata(content))
        yield session


def read_delegation(path: Path) -> Delegation:
    """What XNNPACK takes of a TFLite file, whoever made it, as it says itself; of its main subgraph.

    Raises:
        BadInput: It cannot be read.
        NotRunHere: LiteRT does not load it: it is damaged, or has operations that this LiteRT does not know.
    """
    content = _read(path)
    try:
        with closing(LitertProcess(content, threads=1)) as process:
            planned = process.plan()
    except (Crashed, Refused) as error:
        does = "crashes on it" if isinstance(error, Crashed) else "does not load it"
        raise NotRunHere(f"{path}: LiteRT {does} ({error}).", "Look at the rules that it meets.") from None
    return delegation([Planned(type_, tuple(inputs), tuple(outputs)) for type_, inputs, outputs in planned])


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if content[4:8] != b"TFL3":
        raise BadInput(f"{path} is not a TFLite file.", "Export it again.")
    return content


def _as(mode: str, path: Path) -> bytes:
    """A file as it is run in a mode."""
    content = _read(path)
    if mode != "decoded":
        return content
    with _telling(path):
        return without_run_time_grids(content)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell of whatever LiteRT finds wrong with a file in one message."""
    try:
        yield
    except Crashed as error:
        raise Damaged(f"LiteRT crashes on {path} ({error}): the file asks for what LiteRT cannot compute.") from None
    except (Refused, RuntimeError, ValueError, TypeError, IndexError, struct.error) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise Damaged(f"LiteRT does not take {path}: {cause}") from None


def _metadata(content: bytes) -> dict[str, str]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    texts = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        data = model.Buffers(entry.Buffer()).DataAsNumpy()
        name = entry.Name().decode()
        if name.startswith("evim_deploy.") and not isinstance(data, int):  # 0 stands for an empty buffer
            texts[name] = data.tobytes().decode()
    return texts


def read_operations(path: Path, mode: str) -> tuple[TracedOperation, ...]:
    """The operations of a TFLite file.

    Raises:
        BadInput: It cannot be read.
    """
    with _telling(path):
        return _operations(_read(path))[0]


def trace(path: Path, image: Array, mode: str) -> Trace:
    """The operations of a TFLite file, in LiteRT's own kernels: XNNPACK computes several as one.

    Raises:
        BadInput: LiteRT cannot read it, or its values are too many to be held together.
    """
    content = _as(mode, path)
    with _telling(path):
        process = LitertProcess(content, threads.count(), keeps_all=True)
        if process.bytes > _TRACED_BYTES:
            size = process.bytes / 2**30
            raise BadInput(
                f"All values of {path} take {size:.1f} GiB at once, and {_TRACED_BYTES >> 30} GiB are allowed.",
                "Export the same weights at a smaller resolution, and trace that: the operations are the same.",
            )
        process.allocate()
        found, outputs = _operations(content)

    def compute(wanted: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))  # (B, H, W, 3)
        with _telling(path):
            values = iter(process.trace(channels_last, [tensor for index in wanted for tensor in outputs[index]]))
        for index in wanted:
            arrays = [next(values) for _ in outputs[index]]
            yield index, tuple(np.moveaxis(array, -1, 1) if array.ndim == 4 else array for array in arrays)

    return Trace(found, compute)


def _operations(content: bytes) -> tuple[tuple[TracedOperation, ...], list[list[int]]]:
    """The operations of a file, and for each the tensors that are its outputs."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    types = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    stored = {
        index: array
        for index, tensor in enumerate(graph.tensors)
        if (array := decoded(tensor, model.buffers[tensor.buffer].data)) is not None
    }
    names = {index: (tensor.name or b"").decode() for index, tensor in enumerate(graph.tensors)}
    for signature in model.signatureDefs:
        names.update((output.tensorIndex, output.name.decode()) for output in signature.outputs)
    found = []
    for op in graph.operators:
        type_ = types[model.operatorCodes[op.opcodeIndex].builtinCode]
        if type_ == "DEQUANTIZE" and op.inputs[0] in stored:
            stored[op.outputs[0]] = stored[op.inputs[0]]  # weights in half precision, which it widens
        found.append(
            TracedOperation(
                type_,
                # the converter joins the names of what it fuses; what follows a name says which step it is
                tuple(dict.fromkeys(name.partition("/")[0] for name in names[op.outputs[0]].split(";"))),
                tuple(stored[index] for index in op.inputs if index in stored),
                INTEGER_ROUNDING if graph.tensors[op.outputs[0]].type == schema.TensorType.INT16 else SINGLE,
                _RUN_TIME if _is_hybrid([graph.tensors[index] for index in op.inputs]) else SINGLE,
            )
        )
    return tuple(found), [list(op.outputs) for op in graph.operators]


def _is_hybrid(inputs: Sequence[Any]) -> bool:
    """Whether an operation takes floats and a kernel of 8 bits."""
    from ai_edge_litert import schema_py_generated as schema

    first, *others = inputs
    kernels = [tensor for tensor in others[:1] if tensor.type == schema.TensorType.INT8]
    return bool(kernels) and first.type == schema.TensorType.FLOAT32
