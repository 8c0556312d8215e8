"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy.errors import BadInput
from evim_deploy.trace import SINGLE, Arrays, Trace, TracedOperation
from runtimes import Array

_TRACED_BYTES = 8 << 30
"""Of values that a trace may hold: LiteRT gives those between input and output all at once or not at all."""

_REHEARSAL = """
import sys
from ai_edge_litert.interpreter import Interpreter, OpResolverType
content, kernels = sys.stdin.buffer.read(), OpResolverType[sys.argv[1]]
interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels)
interpreter.allocate_tensors()
interpreter.invoke()
"""
_WITH_XNNPACK, _BY_ITSELF = "AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
"""Names of LiteRT's ``OpResolverType``."""


def why_not() -> str:
    return ""


class LitertSession:
    """A TFLite file of one signature; images and maps are channels-last inside."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, path: Path, interpreter: Any, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        self._path = path
        self._runner = interpreter.get_signature_runner()
        (self._input,) = self._runner.get_input_details()

    def run(self, image: Array) -> dict[str, Array]:
        channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))  # (B, H, W, 3)
        with _telling(self._path):
            outputs = self._runner(**{self._input: channels_last})
        return {name: array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for name, array in outputs.items()}


@contextmanager
def open_session(path: Path, mode: str) -> Iterator[LitertSession]:
    """Load a TFLite file; on a CPU it computes in float32 alone.

    Raises:
        BadInput: LiteRT cannot read it, or it has no named signature.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = _read(path)
    _rehearse(path, content, _WITH_XNNPACK)
    with _telling(path):
        interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        session = LitertSession(path, interpreter, _metadata(content))
    yield session


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if content[4:8] != b"TFL3":
        raise BadInput(f"{path} is not a TFLite file.", "Export it again.")
    return content


def _rehearse(path: Path, content: bytes, kernels: str) -> None:
    """Run a file once in a process of its own, which LiteRT ends where the file claims what it does not hold.

    What LiteRT refuses by an exception is left for it to refuse again.
    """
    child = [sys.executable, "-P", "-c", _REHEARSAL, kernels]
    code = subprocess.run(child, input=content, capture_output=True, check=False).returncode
    if code not in (0, 1):
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise BadInput(f"{path} is damaged: LiteRT crashes on it ({how}).", "Export it again.")


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell of whatever LiteRT finds wrong with a file in one message."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError, struct.error) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{path} is damaged: {cause}", "Export it again.") from None


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


def trace(path: Path, image: Array, mode: str) -> Trace:
    """The operations of a TFLite file, in LiteRT's own kernels: XNNPACK computes several as one.

    Raises:
        BadInput: LiteRT cannot read it, or its values are too many to be held together.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = _read(path)
    _rehearse(path, content, _BY_ITSELF)
    with _telling(path):
        interpreter = Interpreter(
            model_content=content,
            num_threads=os.cpu_count(),
            experimental_op_resolver_type=OpResolverType[_BY_ITSELF],
            experimental_preserve_all_tensors=True,
        )
        size = sum(int(np.prod(each["shape"])) * 4 for each in interpreter.get_tensor_details())
        if size > _TRACED_BYTES:
            raise BadInput(
                f"All values of {path} take {size / 2**30:.1f} GiB at once, and {_TRACED_BYTES >> 30} GiB are allowed.",
                "Export the same weights at a smaller resolution, and trace that: the operations are the same.",
            )
        interpreter.allocate_tensors()
        operations, outputs = _operations(content)

    def compute(wanted: Mapping[int, int]) -> Iterator[tuple[int, Arrays]]:
        (details,) = interpreter.get_input_details()
        interpreter.set_tensor(details["index"], np.ascontiguousarray(image.transpose(0, 2, 3, 1)))  # (B, H, W, 3)
        interpreter.invoke()
        for index in wanted:
            arrays = (interpreter.get_tensor(tensor) for tensor in outputs[index])
            yield index, tuple(np.moveaxis(array, -1, 1) if array.ndim == 4 else array for array in arrays)

    return Trace(operations, compute)


def _operations(content: bytes) -> tuple[tuple[TracedOperation, ...], list[list[int]]]:
    """The operations of a file, and for each the tensors that are its outputs."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    types = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    floats = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}
    stored = {
        index: model.buffers[tensor.buffer].data.view(floats[tensor.type])
        for index, tensor in enumerate(graph.tensors)
        if tensor.type in floats and model.buffers[tensor.buffer].data is not None
    }
    names = {index: tensor.name.decode() for index, tensor in enumerate(graph.tensors)}
    for signature in model.signatureDefs:
        names.update((output.tensorIndex, output.name.decode()) for output in signature.outputs)
    operations = []
    for op in graph.operators:
        type_ = types[model.operatorCodes[op.opcodeIndex].builtinCode]
        if type_ == "DEQUANTIZE" and op.inputs[0] in stored:
            stored[op.outputs[0]] = stored[op.inputs[0]]  # weights in half precision, which it widens
        operations.append(
            TracedOperation(
                type_,
                # the converter joins the names of what it fuses; what follows a name says which step it is
                tuple(dict.fromkeys(name.partition("/")[0] for name in names[op.outputs[0]].split(";"))),
                tuple(stored[index] for index in op.inputs if index in stored),
                SINGLE,
                SINGLE,
            )
        )
    return tuple(operations), [list(op.outputs) for op in graph.operators]
