"""Fixtures shared by Swift and Python: Python's match the current results, and Swift's file meets the schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ios_fixtures
import jsonschema
import numpy as np
import pytest
from ios_fixtures import FOLDER, GOLDEN
from safetensors.numpy import load_file

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.proof.golden import SCHEMA_VERSION as GOLDEN_VERSION
from exporters import FORMATS
from latency.decision import Validity
from latency.judgement import judge
from latency.report.build import build
from latency.results import SCHEMA_FILE, read_results, to_json

DEVICE = FOLDER / "device.json"
REMEDY = "python tests/support/ios_fixtures.py writes them anew"


def leaves(document: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The scalar values of a document, each with its path."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, f"{place}.{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, f"{place}[{index}]")
    else:
        yield place, document


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return ios_fixtures.documents()


def test_fixture_folder_has_exactly_the_expected_files(documents: dict[str, Any]) -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*documents, GOLDEN, DEVICE.name}


@pytest.mark.parametrize(
    "name",
    [
        "geometry",
        "classification",
        "manifest",
        "manifest.schema",
        "labels",
        "golden",
        "statistics",
        "modelbench",
        "judgement",
        "results",
    ],
)
def test_fixture_matches_the_results_of_python(documents: dict[str, Any], name: str) -> None:
    """Numbers are compared with a tolerance, because the last digits depend on the machine."""
    written = dict(leaves(json.loads((FOLDER / f"{name}.json").read_text("utf-8"))))
    computed = dict(leaves(json.loads(json.dumps(documents[f"{name}.json"]))))
    assert written.keys() == computed.keys(), REMEDY
    for place, value in written.items():
        expected = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
        assert computed[place] == expected, f"{name}.json{place}: {REMEDY}"


def test_golden_fixture_matches_a_new_golden_file(tmp_path: Path) -> None:
    ios_fixtures.write_golden_file(tmp_path / GOLDEN)
    written, computed = load_file(FOLDER / GOLDEN), load_file(tmp_path / GOLDEN)
    assert written.keys() == computed.keys(), REMEDY
    for name, array in written.items():
        assert array.dtype == computed[name].dtype
        assert np.allclose(array, computed[name], rtol=1e-4, atol=1e-6), f"{name}: {REMEDY}"


def test_swift_supports_the_schema_version_of_python() -> None:
    """A new schema version requires a Swift reader that supports it."""
    sources = FOLDER.parents[2] / "Sources" / "EvimCore"
    assert f"1...{SCHEMA_VERSION}" in (sources / "Model" / "Manifest.swift").read_text("utf-8")
    assert GOLDEN_VERSION == 1


def test_swift_supports_the_precisions_of_core_ml() -> None:
    manifest = (FOLDER.parents[2] / "Sources" / "EvimCore" / "Model" / "Manifest.swift").read_text("utf-8")
    (listed,) = re.findall(r"precisions = (\[.*\])", manifest)
    assert set(json.loads(listed)) == set(FORMATS["coreml"].precisions)


def test_results_file_of_the_app_meets_the_schema() -> None:
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    document = json.loads(DEVICE.read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document)
    document["contenders"][0]["rounds"][0]["samples_s"] = []
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


def test_python_reads_the_results_file_of_the_app() -> None:
    results = read_results(DEVICE)
    assert results.protocol.name == "modelbench"
    assert {each.mode for each in results.cases} == {"all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine"}
    assert [each.role for each in results.cases].count("control") == 1
    assert all("untrained" in each.subject.weights for each in results.cases)
    assert {found.status for found in judge(results).values()} == {Validity.VALID}
    assert json.loads(to_json(results)) == json.loads(DEVICE.read_text("utf-8"))


def test_report_compares_results_of_the_app_with_the_paper() -> None:
    results = read_results(DEVICE)
    view = build([results])
    (section,) = [each for each in view.sections if each.anchor == "table-e"]
    (table,) = section.tables
    assert table.caption.startswith("iPhone: ours on iPhone")
    assert table.caption.endswith("iPhone 16")
    columns = [column.key for column in table.columns]
    ours = [row for row in table.rows if row.cells[0].text == "EfficientViM-M4"]
    modes = [row.cells[columns.index("mode")].text for row in ours]
    assert modes == ["all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine"]
    for row in ours:
        paper, own = row.cells[columns.index("paper_ms")].value, row.cells[columns.index("ours_ms")].value
        assert paper == 1.0
        assert isinstance(own, float)
        assert 0.5 < own < 5
