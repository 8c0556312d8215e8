"""The table of size, parity, accuracy and latency over formats and precisions, with reasons for missing values."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from latency_files import make_case, make_results

from evim_deploy.common.errors import BadInput
from latency.judgement import compare_with_baseline
from latency.report.build import build
from latency.report.evidence import Evidence, read_evidence
from latency.report.view import Table
from latency.report.writing import render
from latency.results import Check, Results

GROUP = "cpu, 256x256, batch 16, 2 threads"
BASELINE = "efficientvim_m4, onnxruntime, fp32"


def timed(engine: str, precision: str, seconds: float | None, name: str = "EfficientViM-M4", **changes: Any) -> Any:
    common: dict[str, Any] = {"group": GROUP, "setting": None, "mode": None, "threads": 2, "engine_version": "1"}
    check = Check(status="equal", against="PyTorch", error=0.2 if precision == "int8" else 1e-6, tolerance=0.7)
    return make_case(name, seconds, engine=engine, precision=precision, **{**common, "check": check, **changes})


@pytest.fixture
def results() -> Results:
    return make_results(
        [
            timed("onnxruntime", "fp32", 0.036),
            timed("onnxruntime", "int8", 0.012),
            timed("openvino", "bf16", 0.017),
            timed("openvino", "int8", 0.009, mode="floats in bf16"),
            timed("onnxruntime", "fp32", 0.037, "efficientvim_m4", subject={"kind": "peer"}),
            timed("openvino", "fp32", 0.036, "efficientvim_m4", subject={"kind": "peer"}),
            timed(
                "coreml", "w8a8", None, device="coreml", threads=None, group="coreml", reason="macOS only", check=None
            ),
            timed("torch", "fp32", 0.05),
        ]
    )


def manifest(format_: str, precision: str, trained: bool = True, **changes: Any) -> dict[str, Any]:
    suffix = {"onnx": "onnx", "tflite": "tflite", "coreml": "mlpackage"}[format_]
    measures = [{"max_abs": error, "mean_abs": 0.0} for error in (1e-6, 0.05)]
    return {
        "schema_version": 2,
        "artifact": f"m4_{precision}.{suffix}",
        "size_bytes": 20_500_000,
        "sha256": f"of {format_} {precision}",
        "format": format_,
        "precision": precision,
        "model": "efficientvim_m4",
        "resolution": [256, 256],
        "weights": {"source": "timm", "trained": trained, "sha256": "", "note": ""},
        "parity": {"status": "pass", "reason": "", "comparisons": [{"measures": each} for each in measures]},
        **changes,
    }


def answered(artifact: str, **changes: Any) -> dict[str, Any]:
    figures = {"top1": 79.5, "top5": 94.0, "agreement": 97.25, "count": 5000, "difference": -0.25}
    return {"artifact": f"some/folder/{artifact}", **figures, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of manifests, with a golden file beside one."""
    for document in (
        manifest("onnx", "fp32"),
        manifest("onnx", "int8"),
        manifest("tflite", "int8"),
        manifest("coreml", "pal4", parity={"status": "not_run", "reason": "--no-verify", "comparisons": []}),
    ):
        (tmp_path / f"{document['artifact']}.json").write_text(json.dumps(document))
    (tmp_path / "m4_int8.onnx.golden.json").write_text("{}")
    return tmp_path


def accuracies(path: Path, *results: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"schema_version": 2, "results": results}))
    return path


def table(results: Results, evidence: Evidence, baseline: str | None = BASELINE) -> Table:
    (section,) = [each for each in build([results], baseline, evidence).sections if each.anchor == "precisions"]
    return section.tables[0]


def rows_of(table: Table) -> list[dict[str, object]]:
    return [{c.key: cell.value for c, cell in zip(table.columns, row.cells, strict=True)} for row in table.rows]


def reasons(table: Table, row: int, key: str) -> list[str]:
    place = [column.key for column in table.columns].index(key)
    return [table.notes[note] for note in table.rows[row].cells[place].notes]


def test_one_table_has_all_that_is_known_of_each_file_in_each_engine(results: Results, folder: Path) -> None:
    document = accuracies(folder / "accuracy.json", answered("m4_int8.onnx"), answered("m4_fp32.onnx", difference=0.0))
    found = table(results, read_evidence([folder], [document]))
    rows = {(row["model"], row["engine"], row["format"], row["precision"]): row for row in rows_of(found)}
    assert list(rows) == [
        ("EfficientViM-M4", "onnxruntime", "onnx", "fp32"),
        ("EfficientViM-M4", "onnxruntime", "onnx", "int8"),
        ("EfficientViM-M4", "openvino", "onnx", "bf16"),
        ("EfficientViM-M4", "openvino", "onnx", "int8"),
        ("efficientvim_m4", "onnxruntime", "onnx", "fp32"),
        ("efficientvim_m4", "openvino", "onnx", "fp32"),
        ("EfficientViM-M4", "coreml", "coreml", "w8a8"),
        ("efficientvim_m4", None, "tflite", "int8"),
        ("efficientvim_m4", None, "coreml", "pal4"),
    ]
    row = rows["EfficientViM-M4", "openvino", "onnx", "int8"]
    assert (row["mode"], row["size_bytes"], row["parity"], row["parity_error"]) == (
        "floats in bf16",
        20_500_000,
        "pass",
        0.05,
    )
    assert (row["top1_percent"], row["points_lost"], row["agreement_percent"]) == (79.5, 0.25, 97.25)
    assert row["evaluated_images"] == 5000
    assert row["answer_error"] == 0.2
    assert row["ratio"] == pytest.approx(9 / 37, rel=0.02)
    assert rows["EfficientViM-M4", "onnxruntime", "onnx", "fp32"]["points_lost"] == 0


def test_what_was_not_measured_is_empty_and_says_why(results: Results, folder: Path) -> None:
    document = accuracies(
        folder / "accuracy.json",
        answered("m4_int8.onnx", sha256="of another"),
        answered("m4_int8.tflite", difference=None),
    )
    found = table(results, read_evidence([folder], [document]))
    for row, key, why in (
        (0, "top1_percent", "--accuracy has no evaluation of it"),
        (1, "top1_percent", "the evaluated file of this name is another one"),
        (2, "parity", "the engine computes in bf16, the file is fp32"),
        (2, "top1_percent", "--accuracy has no evaluation of it"),
        (4, "size_bytes", "--artifacts has no manifest of such an artifact"),
        (6, "time_ms", "macOS only"),
        (7, "time_ms", "not timed"),
        (7, "points_lost", "it was not compared with its source network"),
        (8, "parity_error", "--no-verify"),
    ):
        assert rows_of(found)[row][key] is None
        assert reasons(found, row, key) == [why]
    assert rows_of(found)[2]["size_bytes"] == 20_500_000  # the fp32 file's
    assert (rows_of(found)[8]["parity"], reasons(found, 8, "parity")) == ("not_run", ["--no-verify"])


def test_untrained_weights_have_an_agreement_and_no_accuracy(results: Results, tmp_path: Path) -> None:
    document = manifest("onnx", "int8", trained=False)
    (tmp_path / f"{document['artifact']}.json").write_text(json.dumps(document))
    evidence = read_evidence([tmp_path], [accuracies(tmp_path / "accuracy.json", answered("m4_int8.onnx"))])
    found = table(results, evidence)
    row = rows_of(found)[1]
    assert (row["top1_percent"], row["points_lost"], row["agreement_percent"]) == (None, None, 97.25)
    assert reasons(found, 1, "top1_percent") == ["untrained weights: its predictions are meaningless"]
    untrained = answered("m4_int8.onnx", weights={"source": "random:0", "trained": False})
    alone = table(results, read_evidence([], [accuracies(tmp_path / "accuracy.json", untrained)]))
    assert rows_of(alone)[-1] | {"top1_percent": None} == rows_of(alone)[-1]
    assert rows_of(alone)[-1]["model"] == "m4_int8.onnx"


def test_every_format_of_the_report_has_it(results: Results, folder: Path) -> None:
    evidence = read_evidence([folder], [accuracies(folder / "accuracy.json", answered("m4_int8.onnx"))])
    for suffix in (".html", ".md"):
        text = render([results], suffix, BASELINE, evidence)
        assert "Formats and precisions" in text
        assert "--accuracy has no evaluation of it" in text
    rows = list(csv.DictReader(io.StringIO(render([results], ".csv", BASELINE, evidence))))
    assert len(rows) == len(results.cases) + 2
    assert (rows[3]["engine"], rows[3]["format"], rows[3]["top1_percent"]) == ("openvino", "onnx", "79.5")
    assert (rows[-1]["model"], rows[-1]["precision"], rows[-1]["time_ms"]) == ("efficientvim_m4", "pal4", "")
    assert rows[-1]["size_bytes"] == "20500000"


def test_without_artifacts_there_is_no_such_table(results: Results) -> None:
    report = build([results])
    assert "precisions" not in [section.anchor for section in report.sections]
    assert "size_bytes" not in [column.key for column in report.figures.columns]


def test_a_baseline_is_narrowed_down_to_an_engine_and_a_precision(results: Results) -> None:
    """A name without an engine selects each engine's own case."""
    cases = {each.id: each for each in results.cases}
    for baseline, held_against in (
        (BASELINE, {("onnxruntime", "fp32")}),
        ("efficientvim_m4, openvino", {("openvino", "fp32")}),
        ("efficientvim_m4", {("onnxruntime", "fp32"), ("openvino", "fp32")}),
    ):
        found = compare_with_baseline(results, baseline)
        assert {(each.baseline.engine, each.baseline.precision) for each in found.values()} <= held_against
        assert {cases[key].subject.name for key in found} >= {"EfficientViM-M4"}
    with pytest.raises(BadInput) as caught:
        compare_with_baseline(results, "efficientvim_m4, onnxruntime, int8")
    assert "'NAME, ENGINE, PRECISION' narrows it down" in caught.value.remedy
    (answer, *_) = build([results], BASELINE).answers
    assert answer.sentences[0].startswith("efficientvim_m4 onnxruntime fp32 takes 37")
    assert "EfficientViM-M4 openvino int8 0.24" in answer.sentences[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "only a part of it"),
        ("[]", "has unexpected contents"),
        ('{"artifact": "m4_int8.onnx"}', "has unexpected contents at size_bytes"),
        (json.dumps(manifest("onnx", "int8", parity={"status": "perhaps"})), "at parity.status"),
    ],
)
def test_an_invalid_manifest_is_an_error(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "m4_int8.onnx.json").write_text(content)
    with pytest.raises(BadInput, match=r"m4_int8\.onnx\.json ") as caught:
        read_evidence([tmp_path], [])
    assert words in caught.value.cause


def test_a_folder_without_artifacts_and_an_invalid_accuracy_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no artifacts"):
        read_evidence([tmp_path], [])
    with pytest.raises(BadInput, match=r"nowhere\.json cannot be read"):
        read_evidence([], [tmp_path / "nowhere.json"])
    with pytest.raises(BadInput, match="unexpected contents at results"):
        read_evidence([], [accuracies(tmp_path / "other.json", {"artifact": "a"})])
