"""``evim-deploy evaluate`` through the command line: its output and exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import (
    SCHEMA_VERSION,
    UNTRAINED,
    Exported,
    assert_done,
    assert_refused,
    exported,
    interrupt,
    left_in,
    run,
    run_program,
)

INTERRUPTED = 130


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def made(base: Path) -> Exported:
    return exported(base, "digits", "-f", "onnx", "-f", "tflite", "--no-verify")


@pytest.fixture(scope="session")
def untrained(base: Path) -> Path:
    return exported(base, "digits", "-f", "onnx", "-w", "random:2", "--no-verify").path("onnx")


def document(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON document, which is all of stdout."""
    actual: dict[str, Any] = json.loads(result.stdout)
    assert actual["schema_version"] == SCHEMA_VERSION
    return actual


def test_for_people(made: Exported) -> None:
    artifacts = made.path("onnx"), made.path("tflite")
    result = run_program("evaluate", *artifacts, "digits", "--limit", "40", env={"COLUMNS": "240"})
    assert_done(result)
    head, *rows = result.stdout.splitlines()
    assert " ".join(head.split()) == "engine images top-1 % difference top-5 % ECE % agreement % images/s"
    for row, name, engine in zip(
        rows, (*map(str, artifacts), "efficientvim_digits as"), ("onnxruntime", "litert", "PyTorch"), strict=False
    ):
        assert row.startswith(name)
        assert f" {engine} " in row
        assert " 40 " in row
        assert "[" in row
    assert "+0.00 [" in rows[0]
    assert "reference" in rows[2]
    assert rows[3] == "digits: 600 images, 10 classes from labels that ship, read by the artifact's labels"
    assert "95 %" in rows[4]
    assert len(rows) == 5
    # A line for the first batch that ends in each quarter: artifacts take one image at a time, a reference 16.
    advances = re.findall(r"^(.+): classifying, (\d+) of 40$", result.stderr, re.MULTILINE)
    expected = {
        artifacts[0].name: [0, 10, 20, 30, 40],
        "efficientvim_digits in PyTorch": [0, 16, 32, 40],
        artifacts[1].name: [0, 10, 20, 30, 40],
    }
    assert advances == [(who, str(done)) for who, counts in expected.items() for done in counts]
    assert result.stderr.count("classifying") == len(advances)


def test_as_json(made: Exported) -> None:
    result = run("evaluate", made.path("onnx"), made.path("tflite"), "digits", "--limit", "40", "--json", "--quiet")
    assert_done(result)
    assert result.stderr == ""
    results = document(result)["results"]
    assert [entry["artifact"] for entry in results] == [str(made.path("onnx")), str(made.path("tflite"))]
    for entry in results:
        assert entry["top1"] > 90
        assert (entry["agreement"], entry["count"]) == (100, 40)
        assert entry["top5"] == 100


def test_untrained_weights_are_noted(untrained: Path) -> None:
    result = run("evaluate", untrained, "digits", "--limit", "5")
    assert_done(result)
    assert UNTRAINED in result.stderr
    assert UNTRAINED in result.stdout.splitlines()[-1]
    assert "only the agreement is meaningful" in result.stdout
    assert UNTRAINED in run("evaluate", untrained, "digits", "--limit", "5", "--quiet", "--json").stderr


def test_interrupted_it_saves_its_predictions_and_continues(made: Exported, tmp_path: Path) -> None:
    line = ("evaluate", made.path("onnx"), "digits", "--json", "--resume", tmp_path / "answers")
    broken = interrupt(*line, at=", 150 of 600", by=signal.SIGINT)
    assert broken.returncode == INTERRUPTED, broken.stderr
    assert "Traceback" not in broken.stderr
    last = broken.stderr.splitlines()[-1]
    assert last.startswith("Interrupted. The predictions so far are in ")
    result = document(broken)
    assert not result["complete"]
    assert 150 <= result["results"][0]["count"] < 600
    whole = run(*line)
    assert_done(whole)
    assert document(whole)["results"][0]["count"] == 600
    assert left_in(tmp_path) == ["answers"]


def test_interrupted_without_a_file_it_shows_its_predictions(made: Exported) -> None:
    broken = interrupt("evaluate", made.path("onnx"), "digits", at=", 300 of 600", by=signal.SIGTERM)
    assert broken.returncode == INTERRUPTED, broken.stderr
    assert "incomplete" in broken.stdout
    assert broken.stderr.splitlines()[-1].endswith("are above, marked incomplete.")


def test_bad_input_is_one_message(made: Exported, tmp_path: Path) -> None:
    artifact = made.path("onnx")
    for line, fragment in (
        ((artifact, tmp_path / "none"), "No such file"),
        ((artifact, tmp_path), "has no images"),
        ((artifact, "digits", "--limit", "0"), "--limit must be at least 1, got 0"),
        ((artifact, "digits", "--labels", tmp_path / "val.txt"), "Leave out --labels"),
        ((tmp_path / "none.onnx", "digits"), "Artifact not found:"),
        ((artifact, "digits", "--weights", "none.pth"), "none.pth"),
    ):
        assert_refused(run("evaluate", *line, "--quiet", "--json"), 3, fragment)
    assert left_in(tmp_path) == []
