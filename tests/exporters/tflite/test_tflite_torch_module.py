"""TFLite of any torch module: its answers in LiteRT, its operations, and what is refused."""

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
"""Depthwise convolutions of the tiny network that onnx2tf writes as grouped ones, by its major version."""

TOLERANCE = 3e-5  # of the range: float32 adds in another order


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
    """Of the outputs in LiteRT, the largest difference in units of the largest range."""
    with runtimes.open_artifact(path) as session:
        found = session.run(given.numpy())["logits"]
    return float(np.abs(found - expected.numpy()).max() / (expected.max() - expected.min()))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network for two images."""
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
def test_the_file_gives_what_the_module_does(written: Path) -> None:
    assert gap(written, tiny_module()(images(2)), images(2)) < TOLERANCE


@needs_onnx2tf
def test_another_network_is_told_apart(written: Path) -> None:
    assert gap(written, tiny_module(1)(images(2)), images(2)) > 100 * TOLERANCE


@needs_onnx2tf
def test_nothing_of_it_is_a_grouped_convolution_or_foreign(written: Path) -> None:
    operations = formats.read(written).operations
    assert operations["DEPTHWISE_CONV_2D"] == 3
    assert operations["CONV_2D"] == 2
    assert not any("CUSTOM" in name or "Flex" in name for name in operations)


@needs_onnx2tf
def test_a_kernel_in_the_wrong_order_shows(written: Path, tmp_path: Path) -> None:
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


def test_the_file_handed_over_is_of_a_version_that_older_libraries_read(tmp_path: Path) -> None:
    """onnx2tf's environment has an onnx of its own: 1.19 reads files up to IR version 12, and 1.16 up to 10."""
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
    """Anything; what is written of it does not matter."""

    def forward(self, image: Tensor) -> Tensor:
        return image


@needs_onnx2tf
def test_what_onnx2tf_cannot_do_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(module: nn.Module, target: Target, path: Path) -> None:
        path.write_bytes(b"no model")

    monkeypatch.setattr(tflite, "_write_source", write)
    with no_folder_is_left(), pytest.raises(BadInput, match=r"onnx2tf cannot convert the network: .*Error"):
        tflite.build(_Fake(), target(), tmp_path / "fake.tflite")
    assert not list(tmp_path.iterdir())


@needs_onnx2tf
def test_an_operation_that_tflite_has_not_is_named(
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


def test_what_onnx2tf_misreads_is_refused(tmp_path: Path) -> None:
    """The file would be off by 0.8 of the range."""
    with no_folder_is_left(), pytest.raises(BadInput, match=r"onnx2tf misreads Resize .*align_corners"):
        tflite.build(_AlignedCorners().eval(), target(), tmp_path / "aligned.tflite")
    assert not list(tmp_path.iterdir())


@needs_onnx2tf
def test_an_interrupt_ends_the_converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_half_precision_weights_are_mended_too(tmp_path: Path) -> None:
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
