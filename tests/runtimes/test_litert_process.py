"""LiteRT in a child process: a crash of the child is an error of the parent."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from networks import tiny
from simulated import reference_of, target_of

import exporters
import runtimes
from evim_deploy.common.errors import BadInput
from runtimes.litert.process import Crashed, LitertProcess, Refused

SIDE = 32


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = target_of("tflite", size=(SIDE, SIDE))
    path = tmp_path_factory.mktemp("sound") / "tiny.tflite"
    exporters.load(exporters.FORMATS["tflite"]).build(reference_of(tiny(1)).stored_form(target), target, path)
    return path


@pytest.fixture
def process(artifact: Path) -> Iterator[LitertProcess]:
    found = LitertProcess(artifact.read_bytes(), threads=1)
    found.allocate()
    yield found
    found.close()


@pytest.fixture
def image() -> npt.NDArray[np.float32]:
    return np.random.RandomState(0).rand(1, SIDE, SIDE, 3).astype(np.float32) * 255


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[LitertProcess]:
    """The processes that a test starts, recorded when they allocate their tensors."""
    found: list[LitertProcess] = []
    allocate = LitertProcess.allocate
    monkeypatch.setattr(LitertProcess, "allocate", lambda self: (found.append(self), allocate(self)))
    return found


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_equals_litert_in_this_process(
    artifact: Path, process: LitertProcess, image: npt.NDArray[np.float32]
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    here = Interpreter(model_path=str(artifact), num_threads=1)
    here.allocate_tensors()
    expected = here.get_signature_runner()(image=image)
    for _ in range(2):
        found = process.run(image)
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert np.array_equal(values, expected[name])
            values += 1  # the caller owns them


def test_an_exception_of_litert_is_raised_and_the_process_continues(
    process: LitertProcess, image: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(Refused, match="Got value of type FLOAT64"):
        process.run(image.astype(np.float64))
    assert process.run(image)


def test_a_crash_is_raised(process: LitertProcess, image: npt.NDArray[np.float32]) -> None:
    os.kill(process.id, signal.SIGSEGV)
    with pytest.raises(Crashed, match="SIGSEGV"):
        process.run(image)


def test_a_crash_is_a_damaged_file_to_the_user(
    artifact: Path, image: npt.NDArray[np.float32], started: list[LitertProcess]
) -> None:
    with runtimes.open_artifact(artifact) as session:
        os.kill(started[0].id, signal.SIGKILL)
        with pytest.raises(BadInput, match=r"LiteRT crashes on .*tiny\.tflite \(SIGKILL\)"):
            session.run(image.transpose(0, 3, 1, 2))


def test_it_ends_with_its_object(artifact: Path) -> None:
    process = LitertProcess(artifact.read_bytes(), threads=1)
    number = process.id
    assert is_running(number)
    del process
    gc.collect()
    assert not is_running(number)


def test_it_ends_with_its_session(artifact: Path, started: list[LitertProcess]) -> None:
    with pytest.raises(KeyboardInterrupt), runtimes.open_artifact(artifact):
        raise KeyboardInterrupt
    assert not is_running(started[0].id)


def test_an_error_of_the_caller_passes_through(artifact: Path) -> None:
    with pytest.raises(ValueError, match="mine"), runtimes.open_artifact(artifact):
        raise ValueError("mine")
