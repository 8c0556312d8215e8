"""JSON as the project writes it: the same document, in few lines that can be compared."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from evim_deploy.common.json_documents import dump_json
from latency.results import read_results, to_json

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.json"))

DOCUMENT: dict[str, Any] = {
    "name": "Zwölf",
    "nothing": {},
    "samples": [0.1, 1e-300, 3],
    "readings": [{"at": 0.5, "phase": "before"}, {"at": 1.5, "phase": "after"}],
    "rounds": [{"index": 0, "samples": [0.25, 0.5]}, {"index": 1, "samples": [0.125]}],
    "deep": [{"rounds": [{"samples": [1]}]}],
}

TEXT = """{
 "name": "Zwölf",
 "nothing": {},
 "samples": [0.1, 1e-300, 3],
 "readings": [
  {"at": 0.5, "phase": "before"},
  {"at": 1.5, "phase": "after"}
 ],
 "rounds": [
  {"index": 0, "samples": [0.25, 0.5]},
  {"index": 1, "samples": [0.125]}
 ],
 "deep": [
  {
   "rounds": [
    {"samples": [1]}
   ]
  }
 ]
}
"""


def test_a_record_is_a_line_and_so_are_its_numbers() -> None:
    assert dump_json(DOCUMENT) == TEXT
    assert json.loads(TEXT) == DOCUMENT


def test_a_changed_sample_changes_one_line() -> None:
    changed = json.loads(TEXT)
    changed["rounds"][1]["samples"].append(0.75)
    lines = [pair for pair in zip(TEXT.splitlines(), dump_json(changed).splitlines(), strict=True) if len({*pair}) > 1]
    assert lines == [('  {"index": 1, "samples": [0.125]}', '  {"index": 1, "samples": [0.125, 0.75]}')]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dump_json({"samples": [value]})


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_are_as_bench_writes_them(path: Path) -> None:
    assert path.read_text("utf-8") == to_json(read_results(path))
