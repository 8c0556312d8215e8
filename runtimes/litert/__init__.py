"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK.

It owns sessions, traces and delegation of TFLite files, and the process that LiteRT runs in.
It may import common, formats and artifact, and no other engine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.artifact.trace import SINGLE, Arrays, Trace, TracedOperation
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, Damaged, NotRunHere, first_line
from runtimes import Array
from runtimes.delegation import Delegation, delegation
from runtimes.litert.process import Crashed, LitertProcess, Refused
from runtimes.litert.quantised import INTEGER_ROUNDING, weights_of, with_float_weights
from runtimes.modes import Mode

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_HYBRID_ROUNDING = 2.0**-8
"""Unit roundoff of an operation with 8-bit weights that quantises its float input to 8 bits at run time."""

_TRACED_BYTES = 8 << 30
"""Limit on the values of a trace: LiteRT preserves all intermediate values or none."""


class LitertSession:
    """A TFLite file with one signature; images and feature maps are channels-last in the file."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, process: LitertProcess, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        self._path = path
        self._process = process

    def run(self, image: Array) -> dict[str, Array]:
        with _as_damaged(self._path):
            outputs = self._process.run(_channels_last(image))
        return {name: _channels_first(array) for name, array in outputs.items()}


@contextmanager
def open_session(path: Path, mode: Mode) -> Iterator[LitertSession]:
    """Load a TFLite file as it is (``fp32``) or with float weights in place of those that cause quantisation at run
    time (``decoded``).

    Raises:
        BadInput: LiteRT cannot read the file, or it has no signature.
    """
    content = _read_for(mode, path)
    with _as_damaged(path):
        process = LitertProcess(content, threads.count())
    with closing(process):
        with _as_damaged(path):
            process.allocate()
            session = LitertSession(path, process, _metadata(content))
        yield session


def read_delegation(path: Path) -> Delegation:
    """Return the operations of a TFLite file's main subgraph that XNNPACK runs.

    Raises:
        BadInput: The file cannot be read.
        NotRunHere: LiteRT does not load the file: it is damaged, or has operations that this LiteRT does not support.
    """
    content = _read(path)
    try:
        with closing(LitertProcess(content, threads=1)) as process:
            return delegation(process.plan())
    except (Crashed, Refused) as error:
        failure = "crashes on" if isinstance(error, Crashed) else "does not load"
        cause = f"LiteRT {failure} {path}: {first_line(error)}."
        raise NotRunHere(cause, "Read the rules that it matches.") from None


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if content[4:8] != b"TFL3":
        raise BadInput(f"{path} is not a TFLite file.", "Export it again.")
    return content


def _read_for(mode: Mode, path: Path) -> bytes:
    """Return the content of a file as a mode runs it."""
    content = _read(path)
    if mode != Mode.DECODED:
        return content
    with _as_damaged(path):
        return with_float_weights(content)


@contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    """Report every fault that LiteRT finds in a file as :class:`Damaged`, with a message of one line."""
    try:
        yield
    except Crashed as error:
        raise Damaged(f"LiteRT crashes on {path} ({error}): the file is not one that LiteRT can compute.") from None
    except (Refused, RuntimeError, ValueError, TypeError, IndexError, struct.error) as error:
        raise Damaged(f"LiteRT rejects {path}: {first_line(error)}.") from None


def _channels_last(image: Array) -> Array:
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))  # (B, H, W, 3)


def _channels_first(array: Array) -> Array:
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


def _metadata(content: bytes) -> dict[str, str]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    texts = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        data = model.Buffers(entry.Buffer()).DataAsNumpy()
        name = entry.Name().decode()
        if name.startswith("evim_deploy.") and not isinstance(data, int):  # an empty buffer is returned as 0
            texts[name] = data.tobytes().decode()
    return texts


def read_operations(path: Path, mode: Mode) -> tuple[TracedOperation, ...]:
    """Return the operations of a TFLite file.

    Raises:
        BadInput: The file cannot be read.
    """
    with _as_damaged(path):
        return _operations(_read(path))[0]


def trace(path: Path, image: Array, mode: Mode) -> Trace:
    """Return the operations of a TFLite file and their values in LiteRT's own kernels, since XNNPACK fuses operations.

    Raises:
        BadInput: LiteRT cannot read the file, or its values need too much memory.
    """
    content = _read_for(mode, path)
    with _as_damaged(path):
        process = LitertProcess(content, threads.count(), preserves_all=True)
        if process.bytes > _TRACED_BYTES:
            size = process.bytes / 2**30
            raise BadInput(
                f"All values of {path} take {size:.1f} GiB at once, and {_TRACED_BYTES >> 30} GiB are allowed.",
                "Export the same weights at a smaller resolution, and trace that: the operations are the same.",
            )
        process.allocate()
        operations, outputs = _operations(content)

    def compute(requested: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        tensors = [tensor for index in requested for tensor in outputs[index]]
        with _as_damaged(path):
            values = iter(process.trace(_channels_last(image), tensors))
        for index in requested:
            yield index, tuple(_channels_first(next(values)) for _ in outputs[index])

    return Trace(operations, compute)


def _operations(content: bytes) -> tuple[tuple[TracedOperation, ...], list[list[int]]]:
    """Return the operations of a file, and the indices of each operation's output tensors."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    types = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    weights = {
        index: array
        for index, tensor in enumerate(graph.tensors)
        if (array := weights_of(tensor, model.buffers[tensor.buffer].data)) is not None
    }
    names = {index: (tensor.name or b"").decode() for index, tensor in enumerate(graph.tensors)}
    for signature in model.signatureDefs:
        names.update((output.tensorIndex, output.name.decode()) for output in signature.outputs)
    operations = []
    for op in graph.operators:
        type_ = types[model.operatorCodes[op.opcodeIndex].builtinCode]
        if type_ == "DEQUANTIZE" and op.inputs[0] in weights:
            weights[op.outputs[0]] = weights[op.inputs[0]]  # float16 weights, cast to float32
        is_16_bit = graph.tensors[op.outputs[0]].type == schema.TensorType.INT16
        operations.append(
            TracedOperation(
                type=type_,
                # the converter joins the names of the operations that it fuses; after the slash is the step
                names=tuple(dict.fromkeys(name.partition("/")[0] for name in names[op.outputs[0]].split(";"))),
                weights=tuple(weights[index] for index in op.inputs if index in weights),
                rounding=INTEGER_ROUNDING if is_16_bit else SINGLE,
                accumulation=_HYBRID_ROUNDING if _is_hybrid([graph.tensors[i] for i in op.inputs]) else SINGLE,
            )
        )
    return tuple(operations), [list(op.outputs) for op in graph.operators]


def _is_hybrid(inputs: Sequence[schema.TensorT]) -> bool:
    """Return whether an operation has a float input and an 8-bit kernel."""
    from ai_edge_litert import schema_py_generated as schema

    first, *others = inputs
    kernels = [tensor for tensor in others[:1] if tensor.type == schema.TensorType.INT8]
    return bool(kernels) and first.type == schema.TensorType.FLOAT32
