"""``bench``, ``report`` and ``compare`` through the command line."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from command import assert_done, assert_refused, interrupt, left_in, run

from latency.results import Reading, Results, read_results

QUICK = ("--seconds", "0.5", "--warmup", "0.1", "--rounds", "5", "-r", "64", "-b", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    """The output of a run; its file is ``results.json`` in the folder."""
    line = ("bench", "m1", "--peers", "mobileone_s0", *QUICK, "--breakdown", "--memory", "-o", folder / "results.json")
    result = run(*line)
    assert_done(result)
    assert "loading and checking" in result.stderr
    assert "round 5 of 5" in result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def results(said: str, folder: Path) -> Results:
    return read_results(folder / "results.json")


def test_the_text_has_the_figures_and_their_reliability(said: str) -> None:
    assert "EfficientViM-M1 takes" in said
    assert "ms an image" in said
    assert re.search(r"\d \[\d.*, .*\d\]", said)  # a ratio and its interval
    assert "Untrained weights: all timed models" in said
    assert "Command: evim-deploy bench m1" in said


def test_the_file_has_every_sample_and_what_was_checked(results: Results) -> None:
    assert results.complete
    assert [each.role for each in results.cases] == ["contender", "contender", "control", "yardstick"]
    for case in results.cases[:2]:
        assert len(case.rounds) == 5
        assert len(case.samples) >= 10
        assert case.check is not None
        assert case.check.status == "equal"
        assert case.check.error is not None
        assert case.check.error < 1e-4
        assert case.subject.weights == "untrained (seed 0)"
        assert case.memory is not None
        assert case.breakdown
    assert "reparameterised" in results.cases[1].subject.form


def test_a_report_is_written_from_the_file(results: Results, folder: Path) -> None:
    for suffix, words in ((".html", "<!doctype html>"), (".md", "EfficientViM-M1"), (".csv", "EfficientViM-M1")):
        path = folder / f"report{suffix}"
        assert_done(run("report", folder / "results.json", "-o", path))
        assert words in path.read_text()
    assert_refused(run("report", folder / "results.json", "-o", folder / "report.html"), 3, "exists already")


def test_a_file_is_not_slower_than_itself(results: Results, folder: Path) -> None:
    result = run("compare", folder / "results.json", folder / "results.json")
    assert_done(result)
    assert result.stdout.count("decides nothing") == 2


def steady(results: Results, stolen: float, **seconds: float) -> str:
    """The file of such a run on a steady machine, with a share of the processor taken by other processes."""
    cases = [
        case.model_copy(
            update={
                "rounds": [
                    each.model_copy(update={"samples_s": [seconds.get(case.subject.name.replace("-", "_"), 0.1)] * 2})
                    for each in case.rounds
                ]
            }
        )
        for case in results.cases
    ]
    readings = [Reading(at_s=cases[0].rounds[0].started_s, phase="during", steal_share=stolen)]
    return results.model_copy(update={"cases": cases, "readings": readings}).model_dump_json(by_alias=True)


def test_a_slower_run_ends_in_1_and_one_of_suspect_figures_does_not(results: Results, folder: Path) -> None:
    before, after, suspect = (folder / f"{name}.json" for name in ("before", "after", "suspect"))
    before.write_text(steady(results, 0.0))
    after.write_text(steady(results, 0.0, MobileOne_S0=0.3))
    suspect.write_text(steady(results, 0.2, MobileOne_S0=0.3))
    result = run("compare", before, after)
    assert result.returncode == 1
    assert "slower" in result.stdout
    output = run("compare", before, after, "--json")
    assert output.returncode == 1
    document = json.loads(output.stdout)
    assert document["slower"]
    assert [each["verdict"] for each in document["contenders"]] == ["decides nothing", "slower"]
    undecided = run("compare", before, suspect)
    assert_done(undecided)
    reason = "Undecided: the figure in B is suspect; B: 20% of the processor's time was stolen by others\n"
    assert reason in undecided.stdout
    document = json.loads(run("compare", before, suspect, "--json").stdout)
    assert not document["slower"]
    assert document["contenders"][1]["reasons"][0] == "the figure in B is suspect"


def test_nothing_is_overwritten_unasked(results: Results, folder: Path) -> None:
    assert_refused(run("bench", "m1", *QUICK, "-o", folder / "results.json"), 3, "exists already", "--overwrite")


def test_an_artifact_is_timed_as_it_stands_and_json_is_all_that_stdout_holds(tmp_path: Path) -> None:
    made = run("export", "m1", "-f", "onnx", "-r", "64", "-w", "random", "-o", tmp_path, "--json")
    assert_done(made)
    path = json.loads(made.stdout)["artifacts"][0]["path"]
    result = run("bench", "-a", path, "--seconds", "0.3", "--warmup", "0", "--rounds", "5", "--json", "--quiet")
    assert_done(result)
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert document["schema"] == "evim-deploy-latency"
    (case, *_) = document["contenders"]
    assert (case["batch"], case["height"], case["engine"]) == (1, 64, "onnxruntime")
    assert case["check"]["status"] == "equal"


def test_an_interrupt_saves_the_measurements_and_marks_them(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    line = ("bench", "m1", "-r", "64", "-b", "2", "-e", "onnxruntime", "--seconds", "1000", "--warmup", "0")
    result = interrupt(*line, "--rounds", "5000", "-o", path, at="round 3 of", by=signal.SIGINT)
    assert result.returncode == 130
    assert f"The measurements so far are in {path}, marked incomplete." in result.stderr
    assert "Traceback" not in result.stderr
    actual = read_results(path)
    assert not actual.complete
    assert actual.incomplete_because == "it was interrupted"
    assert len(actual.cases[0].rounds) >= 2
    assert left_in(tmp_path) == ["results.json"]


def test_a_missing_engine_is_not_run_and_neither_pass_nor_fail(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = run("bench", "m1", "-s", "gpu", "-s", "iphone", "-o", path, "--json")
    if result.returncode == 0:
        pytest.skip("this host has what it should lack")
    assert result.returncode == 6
    assert "not run on this host" in result.stderr
    assert json.loads(result.stdout)["schema"] == "evim-deploy-latency"
    assert {each.outcome for each in read_results(path).cases} == {"not run on this host"}


@pytest.mark.parametrize(
    ("line", "code", "fragments"),
    [
        (("bench", "m9"), 2, ("Unknown model 'm9'",)),
        (("bench", "m1", "-e", "tensorrt"), 2, ("Unknown engine 'tensorrt'", "onnxruntime")),
        (("bench", "m1", "--protocol", "lax"), 2, ("Unknown protocol 'lax'",)),
        (("bench", "m1", "-b", "many"), 2, ("'many'", "--batch")),
        (("bench", "m1", "-r", "dynamic"), 2, ("fixed resolution",)),
        (("bench", "m1", "-o", "results.txt"), 2, (".json",)),
        (("bench", "m1", "--seconds", "0"), 3, ("0 seconds",)),
        (("report", "nowhere.json"), 3, ("nowhere.json",)),
        (("compare", "nowhere.json", "nowhere.json"), 3, ("nowhere.json",)),
    ],
)
def test_a_request_that_cannot_be_met_is_one_message(
    line: tuple[str, ...], code: int, fragments: tuple[str, ...]
) -> None:
    assert_refused(run(*line), code, *fragments)


def test_truncated_foreign_and_newer_files_have_their_own_messages(
    results: Results, folder: Path, tmp_path: Path
) -> None:
    whole = (folder / "results.json").read_text()
    for content, words in (
        (whole[: len(whole) // 2], "only a part"),
        ('{"schema": "coco"}', "not a file of latency results"),
        (whole.replace('"schema_version": 1', '"schema_version": 2', 1), "schema version 2"),
    ):
        path = tmp_path / "other.json"
        path.write_text(content)
        assert_refused(run("report", path, "--json"), 3, words)
    assert_refused(run("compare", path, folder / "results.json"), 3, "schema version 2")


def test_a_report_takes_what_export_and_evaluate_wrote(results: Results, folder: Path, tmp_path: Path) -> None:
    path = folder / "results.json"
    assert_refused(run("report", path, "--artifacts", tmp_path), 3, "has no artifacts")
    assert_refused(run("report", path, "--accuracy", path), 3, "results.json has unexpected contents at results")
    document = tmp_path / "accuracy.json"
    figures = {"artifact": "m1.onnx", "count": 600, "top1": 98.5, "top5": 100.0, "agreement": 99.25}
    document.write_text(json.dumps({"schema_version": 2, "results": [figures]}))
    output = run("report", path, "--accuracy", document, "--baseline", "MobileOne-S0, torch, fp32")
    assert_done(output)
    assert re.search(r"m1\.onnx .* 98\.50 .* 99\.25", output.stdout)
    assert "MobileOne-S0 takes" in output.stdout


def test_two_machines_are_not_compared(results: Results, folder: Path, tmp_path: Path) -> None:
    other = results.model_copy(update={"host": results.host.model_copy(update={"processor": "another"})})
    path = tmp_path / "other.json"
    path.write_text(other.model_dump_json(by_alias=True))
    assert_refused(run("compare", folder / "results.json", path), 3, "different machines")
