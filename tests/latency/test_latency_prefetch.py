"""Background preparation: each file is made once, in order, and cancelled when it is no longer needed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_engine import ENGINE, planned_case

from evim_deploy.common.progress import Silent
from latency import prefetch
from latency.messages import WorkerFailed
from latency.plan import PlannedCase
from latency.prefetch import PreparationFailed, PreparedFiles, SpareWorkers, modules_of
from latency.trial import Trials

_REPLY = {
    "source": "",
    "shape": [3, 8, 8],
    "expected": None,
    "reference": "",
    "weights": "",
    "form": "",
    "parameters": None,
    "libraries": [],
}


class FakeProcess:
    """A fake worker that makes a file when an event allows it, and records its commands."""

    made: ClassVar[list[str]] = []
    may: ClassVar[threading.Event] = threading.Event()
    started: ClassVar[list[FakeProcess]] = []

    def __init__(self, *args: object, modules: tuple[str, ...] = (), **kwargs: object) -> None:
        self.modules = modules
        self.closed = self.killed = False
        self.started.append(self)

    def ask(self, verb: str, subject: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        while not self.may.wait(0.01) and not self.killed:
            continue
        if self.killed or subject["name"] == "broken":
            raise WorkerFailed("it died")
        self.made.append(subject["name"])
        return {**_REPLY, "source": subject["name"]}

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def _processes(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProcess.made, FakeProcess.started, FakeProcess.may = [], [], threading.Event()
    FakeProcess.may.set()
    monkeypatch.setattr(prefetch, "WorkerProcess", FakeProcess)
    monkeypatch.setattr(prefetch, "parallel_processes", lambda: 2)


def case_with_file(name: str, device: str = "cuda") -> PlannedCase:
    """A planned case whose engine loads a file."""
    return replace(planned_case(name, device=device, kind=name), engine=replace(ENGINE, file_suffix=".pt"))


def test_a_file_is_made_once_for_all_cases_that_load_it(tmp_path: Path) -> None:
    files, one, other = PreparedFiles(tmp_path), case_with_file("one"), case_with_file("other")
    renamed = replace(one, subject=replace(one.subject, name="one again"), layout="channels-last")
    with files.prepare_ahead([one, renamed, other]):
        assert [files.get(each, 2).source for each in (one, renamed, other)] == ["one", "one", "other"]
    assert files.get(one, 1).source == "one"  # any batch takes it
    assert sorted(FakeProcess.made) == ["one", "other"]


def test_another_size_is_another_file(tmp_path: Path) -> None:
    files, one = PreparedFiles(tmp_path), case_with_file("one")
    files.get(one, 2)
    files.get(replace(one, height=16), 2)
    assert FakeProcess.made == ["one", "one"]


def test_a_failed_preparation_raises_when_its_file_is_requested(tmp_path: Path) -> None:
    files, broken, other = PreparedFiles(tmp_path), case_with_file("broken"), case_with_file("other")
    with files.prepare_ahead([broken, other]):
        with pytest.raises(PreparationFailed, match="it died"):
            files.get(broken, 2)
        assert files.get(other, 2).source == "other"


def test_files_that_are_no_longer_needed_are_cancelled(tmp_path: Path) -> None:
    """Two files are in progress, and the rest is not started."""
    FakeProcess.may.clear()
    with PreparedFiles(tmp_path).prepare_ahead([case_with_file(name) for name in "abcdef"]):
        pass
    assert FakeProcess.made == []
    assert len(FakeProcess.started) <= 2
    assert all(each.closed for each in FakeProcess.started)


def test_a_spare_worker_is_replaced_after_use(tmp_path: Path) -> None:
    with SpareWorkers(("torch", "timm"), tmp_path) as spares:
        first, second = FakeProcess.started
        assert spares.take() is first
        assert spares.take() is second
        assert len(FakeProcess.started) == 4
    assert [each.closed for each in FakeProcess.started] == [False, False, True, True]
    assert {each.modules for each in FakeProcess.started} == {("torch", "timm")}


def test_nothing_runs_in_the_background_of_a_case_on_the_cpu(tmp_path: Path) -> None:
    trials = Trials(tmp_path, with_memory=False, with_breakdown=False, progress=Silent())
    with trials.prepare_ahead(
        [case_with_file("one", "cpu"), replace(case_with_file("two"), unavailable_reason="a CUDA device is missing")]
    ):
        assert FakeProcess.started == []
    with trials.prepare_ahead([case_with_file("one")]):
        assert FakeProcess.started


def test_a_worker_imports_what_its_case_needs() -> None:
    assert modules_of(planned_case("file")) == ("numpy",)
    peer = replace(case_with_file("peer"), subject=replace(case_with_file("peer").subject, kind="peer"))
    assert modules_of(peer) == ("numpy", "timm")
    litert = replace(ENGINE, requires=("ai-edge-litert",))
    assert modules_of(replace(planned_case("file"), engine=litert)) == ("ai_edge_litert",)
