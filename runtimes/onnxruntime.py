"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evim_deploy.errors import BadInput
from runtimes import Array


def why_not() -> str:
    return ""


class OrtSession:
    """An ONNX file in ONNX Runtime; its arrays are channels-first as they stand."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]

    @property
    def metadata(self) -> Mapping[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, image: Array) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._input: image}), strict=True))


@contextmanager
def open_session(path: Path) -> Iterator[OrtSession]:
    """Load an ONNX file.

    Raises:
        BadInput: ONNX Runtime cannot read it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: a warning for each fp16 cast helps nobody
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (
        errors.Fail,
        errors.InvalidProtobuf,
        errors.InvalidGraph,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as e:
        cause = str(e).splitlines()[0]
        raise BadInput(f"{path} is not an ONNX file that ONNX Runtime takes: {cause}", "Export it again.") from None
    yield OrtSession(session)
