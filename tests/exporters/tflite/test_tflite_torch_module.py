"""TFLite export of any torch module: outputs in LiteRT, operations, and unsupported modules."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx2tf_here import needs_onnx2tf
from tiny_module import CLASSES, SIDE, images, tiny_module
from torch import Tensor, nn

import runtimes
from evim_deploy import formats
from evim_deploy.artifact.target import Target
from evim_deploy.common.errors import BadInput
from evim_deploy.formats.tflite_writer import pack
from exporters.tflite import depthwise as tflite_depthwise
from exporters.tflite import file as tflite_file
from exporters.tflite import onnx2tf_environment
from exporters.tflite import torch_module as tflite

GROUPED = {"1": 1, "2": 0}
"""Number of the tiny network's depthwise convolutions that onnx2tf writes as grouped, by its major version."""

TOLERANCE = 3e-5  # relative to the range: float32 sums in another order


def target(precision: str = "fp32", batch: int = 1) -> Target:
    labels = tuple(f"class {i}" for i in range(CLASSES))
    return Target(
        format="tflite",
        precision=precision,
        height=SIDE,
        width=SIDE,
        batch=batch,
        task="classify",
        output="logits",
        preprocess=False,
        labels=labels,
    )


def gap(path: Path, expected: Tensor, given: Tensor) -> float:
    """The largest difference of the outputs in LiteRT, relative to their range."""
    with runtimes.open_artifact(path) as session:
        found = session.run(given.numpy())["logits"]
    return float(np.abs(found - expected.numpy()).max() / (expected.max() - expected.min()))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny network with a batch of two."""
    path = tmp_path_factory.mktemp("tflite") / "tiny.tflite"
    mended = []
    with pytest.MonkeyPatch.context() as patch:
        mend = tflite_depthwise.replace_grouped
        patch.setattr(tflite_depthwise, "replace_grouped", lambda model: mended.append(mend(model)))
        contract = tflite.build(tiny_module(), target(batch=2), path)
    assert mended == [GROUPED[onnx2tf_environment.find().version.partition(".")[0]]]
    assert contract.inputs[0].shape == (2, SIDE, SIDE, 3)
    assert [spec.name for spec in (*contract.inputs, *contract.outputs)] == ["image", "logits"]
    return path


@needs_onnx2tf
def test_outputs_match_the_module(written: Path) -> None:
    assert gap(written, tiny_module()(images(2)), images(2)) < TOLERANCE


@needs_onnx2tf
def test_outputs_of_another_network_differ(written: Path) -> None:
    assert gap(written, tiny_module(1)(images(2)), images(2)) > 100 * TOLERANCE


@needs_onnx2tf
def test_file_has_no_grouped_convolution_and_no_custom_operation(written: Path) -> None:
    operations = formats.read(written).operations
    assert operations["DEPTHWISE_CONV_2D"] == 3
    assert operations["CONV_2D"] == 2
    assert not any("CUSTOM" in name or "Flex" in name for name in operations)


@needs_onnx2tf
def test_kernel_in_the_wrong_order_changes_the_outputs(written: Path, tmp_path: Path) -> None:
    model = tflite_file.parse(written.read_bytes())
    graph = model.subgraphs[0]
    code = tflite_depthwise.operator_code(model, tflite_depthwise.DEPTHWISE)
    kernel = graph.tensors[next(each for each in graph.operators if each.opcodeIndex == code).inputs[1]]
    array = np.frombuffer(model.buffers[kernel.buffer].data.tobytes(), np.float32).reshape(kernel.shape)
    swapped = np.ascontiguousarray(array.transpose(0, 2, 1, 3))
    model.buffers[kernel.buffer].data = np.frombuffer(swapped.tobytes(), np.uint8)
    path = tmp_path / "swapped.tflite"
    tflite_file.write(path, model, {})
    assert gap(path, tiny_module()(images(2)), images(2)) > 100 * TOLERANCE


def test_onnx_file_for_onnx2tf_has_an_old_ir_version(tmp_path: Path) -> None:
    """The environment of onnx2tf has its own onnx: 1.19 reads IR versions up to 12, and 1.16 up to 10."""
    path = tmp_path / "model.onnx"
    tflite._write_source(tiny_module(), target(), path)
    model = onnx.load(path)
    assert model.ir_version == 9
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]


@contextmanager
def no_folder_is_left() -> Iterator[None]:
    before = set(Path(tempfile.gettempdir()).glob("evim-onnx2tf-*"))
    yield
    assert set(Path(tempfile.gettempdir()).glob("evim-onnx2tf-*")) <= before


class _Fake(nn.Module):
    """A placeholder module; the tests replace the ONNX file that is written for it."""

    def forward(self, image: Tensor) -> Tensor:
        return image


@needs_onnx2tf
def test_conversion_failure_of_onnx2tf_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(module: nn.Module, target: Target, path: Path) -> None:
        path.write_bytes(b"no model")

    monkeypatch.setattr(tflite, "_write_source", write)
    with no_folder_is_left(), pytest.raises(BadInput, match=r"onnx2tf cannot convert the network: .*Error"):
        tflite.build(_Fake(), target(), tmp_path / "fake.tflite")
    assert not list(tmp_path.iterdir())


@needs_onnx2tf
def test_error_names_the_operation_that_tflite_lacks(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tflite_file.parse(written.read_bytes())
    model.operatorCodes[0].customCode = b"FlexErf"
    monkeypatch.setattr(tflite, "_write_source", lambda *arguments: None)
    monkeypatch.setattr(tflite, "converted", lambda folder: pack(model))
    with pytest.raises(BadInput, match="FlexErf"):
        tflite.build(_Fake(), target(), tmp_path / "flex.tflite")
    assert not list(tmp_path.iterdir())


class _AlignedCorners(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        grown = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return grown.mean((2, 3))


def test_operation_that_onnx2tf_misreads_is_rejected(tmp_path: Path) -> None:
    """The error of the converted file would be 0.8 of the range."""
    with no_folder_is_left(), pytest.raises(BadInput, match=r"onnx2tf misreads Resize .*align_corners"):
        tflite.build(_AlignedCorners().eval(), target(), tmp_path / "aligned.tflite")
    assert not list(tmp_path.iterdir())


@needs_onnx2tf
def test_interrupt_ends_the_converter_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[Any]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(tflite, "_write_source", lambda *arguments: None)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with no_folder_is_left(), pytest.raises(KeyboardInterrupt):
        tflite.build(_Fake(), target(), tmp_path / "fake.tflite")
    assert started[0].returncode is not None


@needs_onnx2tf
@pytest.mark.slow
def test_grouped_convolutions_with_fp16_weights_become_depthwise(tmp_path: Path) -> None:
    module = tiny_module()
    for parameter in module.parameters():
        parameter.copy_(parameter.half().float())
    path = tmp_path / "half.tflite"
    tflite.build(module, target("fp16"), path)
    assert formats.read(path).operations["DEPTHWISE_CONV_2D"] == 3
    model = tflite_file.parse(path.read_bytes())
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors} | {each.buffer for each in model.metadata}
    assert [index for index, each in enumerate(model.buffers) if each.data is not None and index not in used] == []
    assert gap(path, module(images(1)), images(1)) < 5e-3
