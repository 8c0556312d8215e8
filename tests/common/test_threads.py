"""Numbers of threads of torch and of each engine, and references that compute in batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import runtimes
import runtimes.litert
from evim_deploy.accuracy import Evaluator
from evim_deploy.accuracy import evaluation as evaluation_module
from evim_deploy.catalog.variants import DIGITS, ModelName
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common import threads
from evim_deploy.networks.efficientvim.reference import GraphReference
from evim_deploy.networks.open import open_reference

CORES = 6
LARGE = threads.SMALL + 1


@pytest.fixture(autouse=True)
def six_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of six cores whose user has asked for nothing; torch has its own number again at the end."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)), raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("pixels", "expected"), [(1, 1), (threads.SMALL, 1), (LARGE, CORES), (4096 * 4096, CORES)])
def test_small_work_gets_one_thread_and_large_work_all_cores(pixels: int, expected: int) -> None:
    assert threads.threads_for(pixels) == expected


@pytest.mark.parametrize("pixels", [1, LARGE])
@pytest.mark.parametrize(("asked", "expected"), [("3", 3), ("1", 1), ("4,2", 4)])
def test_the_user_decides(monkeypatch: pytest.MonkeyPatch, asked: str, expected: int, pixels: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads.threads_for(pixels) == expected


@pytest.mark.parametrize("asked", ["", "0", "-1", "many"])
def test_a_number_that_is_none_is_ignored(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert [threads.threads_for(pixels) for pixels in (1, LARGE)] == [1, CORES]


def test_torch_has_the_number_in_the_block_alone() -> None:
    torch.set_num_threads(2)
    with threads.computing(1):
        assert (threads.count(), torch.get_num_threads()) == (1, 1)
        with threads.computing(LARGE):  # as a function of several sizes
            assert (threads.count(), torch.get_num_threads()) == (CORES, CORES)
        assert (threads.count(), torch.get_num_threads()) == (1, 1)
    assert (threads.count(), torch.get_num_threads()) == (CORES, 2)


def test_the_number_is_given_back_after_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyError), threads.computing(1):
        raise KeyError
    assert (threads.count(), torch.get_num_threads()) == (CORES, 2)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Digits in every format, unproven, by its suffix."""
    folder = tmp_path_factory.mktemp("digits")
    request = Request(
        model=ModelName(DIGITS),
        formats=("onnx", "tflite", "coreml"),
        precisions=("fp32",),
        output_dir=folder,
        verify=False,
    )
    return {Path(each["path"]).suffix: Path(each["path"]) for each in export(request)}


@pytest.mark.parametrize(("pixels", "expected"), [(1, 1), (LARGE, CORES)])
def test_onnx_runtime_gets_the_number_and_does_not_spin(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, pixels: int, expected: int
) -> None:
    seen = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, content: Any, options: onnxruntime.SessionOptions, **more: Any) -> None:
            spins = options.get_session_config_entry("session.intra_op.allow_spinning")
            seen.append((options.intra_op_num_threads, spins))
            super().__init__(content, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    for mode in ("fp16", "fp32"):
        with threads.computing(pixels), runtimes.open_artifact(artifacts[".onnx"], mode=mode):
            pass
    assert seen == [(expected, "0")] * 2


@pytest.mark.parametrize(("pixels", "expected"), [(1, 1), (LARGE, CORES)])
def test_litert_gets_the_number(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch, pixels: int, expected: int
) -> None:
    seen, original = [], runtimes.litert.LitertProcess

    def start(content: bytes, threads: int, preserves_all: bool = False) -> Any:
        seen.append(threads)
        return original(content, threads, preserves_all)

    monkeypatch.setattr(runtimes.litert, "LitertProcess", start)
    image = np.zeros((1, 3, DIGITS.resolution, DIGITS.resolution), np.float32)
    with threads.computing(pixels), runtimes.open_artifact(artifacts[".tflite"]):
        runtimes.trace(artifacts[".tflite"], image)
    assert seen == [expected] * 2


def test_the_evaluator_of_core_ml_packages_gets_it_where_torch_was_not_loaded_before(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    (engine,) = (each for each in runtimes.engines_of(".mlpackage") if each.name == "mil")
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        block = threads.computing(1)
        block.__enter__()
    assert torch.get_num_threads() == 2
    with runtimes.open_artifact(artifacts[".mlpackage"], engine):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    block.__exit__(None, None, None)


def test_an_export_computes_small_images_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof and the golden file, and what an engine would get meanwhile."""
    seen: set[tuple[int, int]] = set()
    outputs = GraphReference.outputs_in

    def spied(self: GraphReference, *arguments: Any) -> Any:
        seen.add((threads.count(), torch.get_num_threads()))
        return outputs(self, *arguments)

    monkeypatch.setattr(GraphReference, "outputs_in", spied)
    torch.set_num_threads(2)
    export(Request(model=ModelName(DIGITS), formats=("onnx",), precisions=("fp32",), output_dir=tmp_path, golden=True))
    assert seen == {(1, 1)}
    assert torch.get_num_threads() == 2


def test_a_reference_is_evaluated_in_batches_whatever_the_artifact_takes(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    outputs = GraphReference.outputs

    def spied(self: GraphReference, task: str, images: Any, batch: int = 1) -> Any:
        seen.append(len(images))
        assert batch == 16
        assert torch.get_num_threads() == 1
        return outputs(self, task, images, batch)

    monkeypatch.setattr(GraphReference, "outputs", spied)
    evaluation = Evaluator(limit=40).evaluate([artifacts[".onnx"]], "digits")
    assert seen == [16, 16, 16]  # the last filled up
    (result,) = evaluation.results
    assert result.agreement is not None


@pytest.mark.parametrize(("side", "expected"), [(64, 16), (256, 16), (512, 4), (1024, 1), (4096, 1)])
def test_a_batch_of_large_images_has_fewer_of_them(side: int, expected: int) -> None:
    reference = digits_reference()
    assert evaluation_module.PublishedNetwork(reference, (side, side), lambda image: image).batch == expected


def test_an_image_has_the_same_outputs_in_a_batch_and_alone() -> None:
    """But for rounding; with a control: another image of the batch has others."""
    reference = digits_reference()
    images = np.zeros((5, 3, DIGITS.resolution, DIGITS.resolution), np.float32)
    images[:] = np.random.default_rng(0).normal(size=images.shape)
    alone, together = (reference.outputs("classify", images, batch)["logits"] for batch in (1, 3))
    span = np.ptp(alone)
    assert np.abs(alone - together).max() < 1e-5 * span
    assert np.abs(alone - together[::-1]).max() > 1e-2 * span


def digits_reference() -> GraphReference:
    reference = open_reference(ModelName(DIGITS), None, None, lambda text: None)
    assert isinstance(reference, GraphReference)
    return reference


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        (["models"], {}, "passive"),
        (["models"], {"OMP_WAIT_POLICY": "active"}, "active"),
        (["bench", "--help"], {}, "None"),  # which measures engines as they are
    ],
)
def test_openmp_sleeps_but_while_latency_is_measured(
    arguments: list[str], given: dict[str, str], expected: str
) -> None:
    program = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: sys.stderr.write(str(os.environ.get('OMP_WAIT_POLICY'))))\n"
        f"sys.argv = {['evim-deploy', *arguments]!r}\n"
        "from evim_deploy.cli.main import run\n"
        "run()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == expected
