"""Two interpreters in one run, distinguished in the results file."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks import versions
from latency.protocol import PROTOCOLS
from latency.results import read_results


@pytest.fixture
def old_python(tmp_path: Path) -> str:
    """An interpreter whose ONNX Runtime reports another version."""
    (tmp_path / "sitecustomize.py").write_text("import onnxruntime\nonnxruntime.__version__ = '0.1'\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH={tmp_path}:$PYTHONPATH\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_two_interpreters_are_timed_side_by_side(
    old_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")  # main sets it
    monkeypatch.setattr(versions, "MODEL", "digits")
    monkeypatch.setattr(versions, "SIDE", 64)
    monkeypatch.setattr(versions, "BATCHES", {"onnxruntime": 2})
    monkeypatch.setattr(versions, "PROTOCOL", replace(PROTOCOLS["robust"], seconds=0.1, warmup_s=0, rounds=5))
    path = tmp_path / "versions.json"
    versions.main(old_python, str(path))
    results = read_results(path)
    assert results.complete
    timed = {(each.subject.name, each.role): each for each in results.cases if each.role != "yardstick"}
    old, new, control = (
        timed[f"EfficientViM-DIGITS {word} {version('onnxruntime')}", role]
        for word, role in (("old", "contender"), ("new", "contender"), ("old", "control"))
    )
    assert old.engine_version == control.engine_version == "0.1" != new.engine_version
    for each in (old, new, control):
        assert len(each.rounds) == 5
        assert each.check is not None
        assert each.check.status == "equal"
    starts = [sorted((old, new, control), key=lambda each: each.rounds[index].started_s) for index in range(5)]
    assert len({tuple(each.id for each in order) for order in starts}) > 1  # no order is kept
    assert f"onnxruntime {new.engine_version} takes" in capsys.readouterr().out
