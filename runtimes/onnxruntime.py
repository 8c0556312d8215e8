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

    anomalies: Mapping[str, Mapping[str, int]] = {}

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
def open_session(path: Path, mode: str) -> Iterator[OrtSession]:
    """Load an ONNX file as it stands (``fp16``), or with every float16 in it widened to float32 (``fp32``).

    Raises:
        BadInput: ONNX Runtime cannot read it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: a warning for each fp16 cast helps nobody
    try:
        content = _widened(path) if mode == "fp32" else path
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
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


def _widened(path: Path) -> Any:
    """The file's content with float32 in place of float16: weights, casts and declared types."""
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model.SerializeToString()
