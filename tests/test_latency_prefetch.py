"""What is made ready ahead is made once, in order, and given up where nobody waits for it any more."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fake_engine import ENGINE, entry

from evim_deploy.common.progress import Silent
from latency import prefetch
from latency.plan import Entry
from latency.prefetch import Files, NotPrepared, Spares, imports
from latency.process import WorkerFailed
from latency.trial import Trials

_ANSWER = {
    "source": "",
    "shape": [3, 8, 8],
    "expected": None,
    "against": "",
    "weights": "",
    "form": "",
    "parameters": None,
    "libraries": [],
}


class FakeProcess:
    """A worker that makes a file when it may, and notes what it was asked for."""

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
        return {**_ANSWER, "source": subject["name"]}

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
    monkeypatch.setattr(prefetch, "side_by_side", lambda: 2)


def made_of(name: str, device: str = "cuda") -> Entry:
    """A contender that needs a file."""
    return replace(entry(name, device=device, kind=name), engine=replace(ENGINE, takes=".pt"))


def test_a_file_is_made_once_for_all_that_take_it(tmp_path: Path) -> None:
    files, one, other = Files(tmp_path), made_of("one"), made_of("other")
    renamed = replace(one, subject=replace(one.subject, name="one again"), layout="channels-last")
    with files.ahead([one, renamed, other]):
        assert [files.of(each, 2).source for each in (one, renamed, other)] == ["one", "one", "other"]
    assert files.of(one, 1).source == "one"  # any batch takes it
    assert sorted(FakeProcess.made) == ["one", "other"]


def test_another_size_is_another_file(tmp_path: Path) -> None:
    files, one = Files(tmp_path), made_of("one")
    files.of(one, 2)
    files.of(replace(one, height=16), 2)
    assert FakeProcess.made == ["one", "one"]


def test_one_that_cannot_be_made_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    files, broken, other = Files(tmp_path), made_of("broken"), made_of("other")
    with files.ahead([broken, other]):
        with pytest.raises(NotPrepared, match="it died"):
            files.of(broken, 2)
        assert files.of(other, 2).source == "other"


def test_what_nobody_waits_for_any_more_is_given_up(tmp_path: Path) -> None:
    """Two are being made, and the rest is not begun."""
    FakeProcess.may.clear()
    with Files(tmp_path).ahead([made_of(name) for name in "abcdef"]):
        pass
    assert FakeProcess.made == []
    assert len(FakeProcess.started) <= 2
    assert all(each.closed for each in FakeProcess.started)


def test_a_spare_worker_is_replaced_when_it_is_taken(tmp_path: Path) -> None:
    with Spares(("torch", "timm"), tmp_path) as spares:
        first, second = FakeProcess.started
        assert spares.take() is first
        assert spares.take() is second
        assert len(FakeProcess.started) == 4
    assert [each.closed for each in FakeProcess.started] == [False, False, True, True]
    assert {each.modules for each in FakeProcess.started} == {("torch", "timm")}


def test_where_the_processor_is_timed_nothing_runs_beside_it(tmp_path: Path) -> None:
    trials = Trials(tmp_path, False, False, Silent())
    with trials.ahead([made_of("one", "cpu"), replace(made_of("two"), absent="there is no CUDA device")]):
        assert FakeProcess.started == []
    with trials.ahead([made_of("one")]):
        assert FakeProcess.started


def test_a_worker_imports_what_its_contender_needs() -> None:
    assert imports(entry("file")) == ("numpy",)
    peer = replace(made_of("peer"), subject=replace(made_of("peer").subject, kind="peer"))
    assert imports(peer) == ("numpy", "timm")
    litert = replace(ENGINE, requires=("ai-edge-litert",))
    assert imports(replace(entry("file"), engine=litert)) == ("ai_edge_litert",)
