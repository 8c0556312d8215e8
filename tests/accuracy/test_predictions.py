"""The file of predictions: its content, interruptions, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evim_deploy.accuracy.predictions import PredictionLog, Predictions, open_log
from evim_deploy.common.errors import BadInput

FULL = Path("/dev/full")
ORDER = [3, 1, 4, 0, 2]
SUBJECT = {"artifacts": ["one in onnxruntime"], "images": "abc"}
FIRST = Predictions(images=[3, 4], unreadable=[1], top=[[7, 1], [2, 0]], confidence=[0.1 + 0.2, 0.5], seconds=0.25)
SECOND = Predictions(images=[0], unreadable=[], top=[[1, 3]], confidence=[1 / 3], seconds=0.125)


def write(path: Path) -> Path:
    with open_log(path, SUBJECT, ORDER) as log:
        log.add("one", FIRST)
        log.add("two", FIRST)
        log.add("one", SECOND)
    return path


def saved(path: Path) -> Predictions:
    with open_log(path, SUBJECT, ORDER) as log:
        return log.predictions("one")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "answers.jsonl")


def test_what_was_written_is_read_to_the_last_bit(path: Path) -> None:
    assert saved(path) == Predictions(
        images=[3, 4, 0],
        unreadable=[1],
        top=[[7, 1], [2, 0], [1, 3]],
        confidence=[0.1 + 0.2, 0.5, 1 / 3],
        seconds=0.375,
    )
    assert saved(path).seen == 4


def test_to_read_it_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    saved(path)
    assert path.read_bytes() == before


def test_a_line_that_broke_off_is_dropped_and_written_anew(path: Path) -> None:
    whole = path.read_bytes()
    heading_ends = whole.index(b"\n") + 1
    for end in range(heading_ends, len(whole)):
        path.write_bytes(whole[:end])
        lines = whole[:end].count(b"\n")
        with open_log(path, SUBJECT, ORDER) as log:
            assert log.predictions("one").seen == [0, 3, 3, 4][lines - 1]
        assert path.read_bytes() == whole[: whole[:end].rindex(b"\n") + 1]


def test_a_heading_that_broke_off_is_written_anew(path: Path) -> None:
    whole = path.read_bytes()
    for end in range(whole.index(b"\n")):
        path.write_bytes(whole[:end])
        write(path)
        assert path.read_bytes() == whole


def test_without_a_file_predictions_are_only_in_memory(tmp_path: Path) -> None:
    with open_log(None, SUBJECT, ORDER) as log:
        log.add("one", FIRST)
        assert log.predictions("one") == FIRST
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("subject", "fragment"),
    [
        ({**SUBJECT, "artifacts": ["two in onnxruntime"]}, "predictions for other artifacts"),
        ({**SUBJECT, "images": "abd"}, "predictions for other images"),
        ({"artifacts": [], "images": ""}, "predictions for other artifacts and images"),
    ],
)
def test_predictions_of_another_evaluation_are_refused(path: Path, subject: dict[str, object], fragment: str) -> None:
    before = path.read_bytes()
    with pytest.raises(BadInput, match=fragment), open_log(path, subject, ORDER):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"notes", b"notes\n", b"{}\n", b"[1]\n", b'{"schema_version": 1}\n', b"\xff\xfe\n"],
)
def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="was not written by --resume"), open_log(path, SUBJECT, ORDER):
        pass
    assert path.read_bytes() == content


def test_a_version_to_come_is_refused(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(BadInput, match="has version 9"):
        saved(path)


@pytest.mark.parametrize(
    "change",
    [
        {"images": [3, 0]},  # not those that come next
        {"images": [3]},
        {"images": ["3", 4]},
        {"images": [], "unreadable": [], "top": [], "confidence": []},
        {"top": [[7, 1]]},
        {"top": [[7, 1], [2]]},
        {"top": [["a", 1], [2, 0]]},
        {"top": 5},
        {"confidence": [0.5]},
        {"confidence": [None, "x"]},
        {"seconds": "long"},
        {"seconds": [1, 2]},
        {"more": 1},
    ],
)
def test_a_damaged_line_is_refused(path: Path, change: dict[str, object]) -> None:
    heading, first, *others = path.read_text().splitlines(keepends=True)
    damaged = json.dumps({**json.loads(first), **change}) + "\n"
    path.write_text("".join([heading, damaged, *others]))
    with pytest.raises(BadInput, match="is damaged in line 2"):
        saved(path)


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "answers.jsonl"):
        with pytest.raises(BadInput, match="cannot be read and written"), open_log(path, SUBJECT, ORDER):
            pass
    with pytest.raises(BadInput, match="cannot be written: No space left"), FULL.open("wb", buffering=0) as full:
        PredictionLog({}, full).add("one", FIRST)


def test_predictions_for_some_of_the_images() -> None:
    assert FIRST.subset([1, 3]) == Predictions(
        images=[3], unreadable=[1], top=[[7, 1]], confidence=[0.1 + 0.2], seconds=0.125
    )
