"""LiteRT, the engine of TFLite files, on the CPU with XNNPACK."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evim_deploy.errors import BadInput
from runtimes import Array


def why_not() -> str:
    return ""


class LitertSession:
    """A TFLite file of one signature; images and maps are channels-last inside."""

    anomalies: Mapping[str, Mapping[str, int]] = {}

    def __init__(self, interpreter: Any, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        self._runner = interpreter.get_signature_runner()
        (self._input,) = self._runner.get_input_details()

    def run(self, image: Array) -> dict[str, Array]:
        channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))  # (B, H, W, 3)
        outputs = self._runner(**{self._input: channels_last})
        return {name: array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for name, array in outputs.items()}


@contextmanager
def open_session(path: Path, mode: str) -> Iterator[LitertSession]:
    """Load a TFLite file; on a CPU it computes in float32 alone.

    Raises:
        BadInput: LiteRT cannot read it, or it has no named signature.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    if content[4:8] != b"TFL3":
        raise BadInput(f"{path} is not a TFLite file.", "Export it again.")
    try:
        interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        session = LitertSession(interpreter, _metadata(content))
    except (RuntimeError, ValueError, IndexError, struct.error) as error:
        raise BadInput(f"{path} is damaged: {str(error).splitlines()[0]}", "Export it again.") from None
    yield session


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
