"""Runs with a fake engine of known delays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_engine
import jsonschema
import numpy as np
import pytest
from fake_engine import ENGINE, planned_case

from evim_deploy.common.progress import Silent
from latency.decision import SMALLEST_EFFECT, Validity, Verdict, verdict
from latency.judgement import compare_with_baseline, judge
from latency.messages import OutOfMemory, WorkerFailed
from latency.plan import BenchRequest, Plan, PlannedCase
from latency.process import WorkerProcess
from latency.protocol import PROTOCOLS, SamplingProtocol
from latency.results import SCHEMA_FILE, Case, Results, json_schema, read_results, to_json
from latency.session import Session

QUICK = replace(PROTOCOLS["robust"], seconds=0.4, warmup_s=0.02, rounds=6)


@pytest.fixture(autouse=True, scope="module")
def _workers_find_the_engine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        folder = str(Path(fake_engine.__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join((folder, os.environ.get("PYTHONPATH", ""))))
        yield


def measure(*cases: PlannedCase, protocol: SamplingProtocol = QUICK, budget_s: float | None = None) -> Results:
    request = BenchRequest(protocol=protocol, budget_s=budget_s, memory=True, breakdown=True)
    results, stop = Session(Plan(cases), request, ["evim-deploy", "bench"], Silent()).measure()
    assert stop is None
    return results


def find(results: Results, name: str, role: str = "contender") -> Case:
    return next(each for each in results.cases if (each.subject.name, each.role) == (name, role))


@pytest.fixture(scope="module")
def mixed() -> Results:
    """Cases of every outcome, timed together."""
    return measure(
        planned_case("plain", delay_s=0.01, mode="floats in bf16"),
        planned_case("twice", delay_s=0.02),
        planned_case("same", delay_s=0.01),
        planned_case("bumpy", delay_s=0.01, slow_every=11, slow_s=0.03),
        planned_case("large", batch=16, fits=4, delay_s=0.01),
        planned_case("breaks", breaks_after=20),
        planned_case("dies", dies=1),
        planned_case("never fits", fits=0),
        replace(planned_case("elsewhere"), unavailable_reason="there is none here; go there"),
    )


def test_an_engines_own_choice_is_its_mode(mixed: Results) -> None:
    assert find(mixed, "plain").mode == find(mixed, "plain", "control").mode == "floats in bf16"
    assert find(mixed, "twice").mode is None


def test_known_delays_give_known_statistics(mixed: Results) -> None:
    judged = judge(mixed)
    for name, delay in (("plain", 0.01), ("twice", 0.02)):
        case = find(mixed, name)
        summary = judged[case.id].summary
        assert summary is not None
        assert delay <= summary.minimum
        assert summary.median == pytest.approx(delay, rel=0.1)
        assert summary.count >= QUICK.rounds * QUICK.min_samples
        assert sum(case.samples) >= QUICK.seconds
    comparison = compare_with_baseline(mixed)[find(mixed, "twice").id]
    assert comparison.interval is not None
    assert comparison.interval.estimate == pytest.approx(2, rel=0.1)
    assert verdict(comparison.interval, SMALLEST_EFFECT) == Verdict.SLOWER  # whatever else the machine is doing


def test_the_control_and_the_calibration_workload_ran_beside_them(mixed: Results) -> None:
    control = find(mixed, "plain", "control")
    assert len(control.rounds) == QUICK.rounds
    assert control.samples != find(mixed, "plain").samples
    assert len(find(mixed, "calibration workload", "yardstick").rounds) == QUICK.rounds


def test_outliers_are_flagged_and_included(mixed: Results) -> None:
    case = find(mixed, "bumpy")
    summary = judge(mixed)[case.id].summary
    assert summary is not None
    slow = {place for place, sample in enumerate(case.samples) if sample > 0.03}
    assert slow
    assert slow <= set(summary.outliers)
    assert summary.count == len(case.samples)


def test_the_order_of_a_round_is_drawn_from_the_seed(mixed: Results) -> None:
    """The order includes the cases that could be opened, the control and the calibration workload."""
    opened = [each for each in mixed.cases if each.rounds or each.reason == "RuntimeError: it broke"]
    drawn = np.random.default_rng(mixed.protocol.seed)
    orders = []
    for index in range(QUICK.rounds):
        expected = [opened[place] for place in drawn.permutation(len(opened))]
        starts = {member.id: each.started_s for member in opened for each in member.rounds if each.index == index}
        orders.append([member.id for member in expected if member.id in starts])
        assert orders[-1] == sorted(starts, key=lambda id_: starts[id_])
    assert len({tuple(order) for order in orders}) == QUICK.rounds


def test_the_batch_halves_while_memory_runs_out(mixed: Results) -> None:
    case = find(mixed, "large")
    assert (case.batch_asked, case.batch, case.outcome) == (16, 4, "measured")
    assert [(each.batch, each.outcome) for each in case.attempts] == [
        (16, "out of memory"),
        (8, "out of memory"),
        (4, "fits"),
    ]
    ratio = compare_with_baseline(mixed)[case.id].interval
    assert ratio is not None
    assert ratio.estimate == pytest.approx(0.5, rel=0.1)  # as long for four images as the baseline for two


def test_a_case_that_fits_with_no_batch_is_recorded(mixed: Results) -> None:
    case = find(mixed, "never fits")
    assert case.outcome == "out of memory"
    assert [each.batch for each in case.attempts] == [2, 1]
    assert not case.rounds


def test_a_failed_prediction_is_never_a_fast_one(mixed: Results) -> None:
    for name, cause in (("breaks", "it broke"), ("dies", "exit code 3")):
        case = find(mixed, name)
        assert case.outcome == "failed"
        assert cause in (case.reason or "")
        assert judge(mixed)[case.id].status in (Validity.INVALID, "not measured")
        assert case.id not in compare_with_baseline(mixed)


def test_a_case_that_this_host_cannot_run_is_recorded(mixed: Results) -> None:
    case = find(mixed, "elsewhere")
    assert (case.outcome, case.reason) == ("not run on this host", "there is none here; go there")


def test_cold_start_memory_and_breakdown_are_recorded(mixed: Results) -> None:
    case = find(mixed, "plain")
    assert case.cold_start is not None
    assert case.cold_start.first_prediction_s == pytest.approx(0.01, rel=0.5)
    assert case.memory is not None
    assert case.memory.peak_bytes >= case.memory.before_bytes > 0
    assert case.breakdown is not None
    assert case.breakdown[0].seconds == 0.01


def test_readings_before_during_and_after(mixed: Results) -> None:
    phases = [reading.phase for reading in mixed.readings]
    assert (phases[0], phases[-1]) == ("before", "after")
    assert phases.count("during") == QUICK.rounds


def test_equal_cases_are_undecided(mixed: Results) -> None:
    assert compare_with_baseline(mixed)[find(mixed, "same").id].verdict == Verdict.UNDECIDED


def test_the_paper_protocol_times_each_alone() -> None:
    protocol = replace(PROTOCOLS["paper"], seconds=0.3, warmup_s=0.1)
    results = measure(planned_case("one", delay_s=0.01), planned_case("other", delay_s=0.01), protocol=protocol)
    assert [each.role for each in results.cases] == ["contender", "contender"]
    assert [len(each.rounds) for each in results.cases] == [1, 1]
    assert results.protocol.deviations == [
        "0.3 seconds of timing instead of 60",
        "0.1 seconds of warm-up instead of 10",
    ]
    assert min(each.warmup_s for each in results.cases) >= 0.1


def test_a_budget_ends_the_run_and_the_measurements_remain() -> None:
    protocol = replace(QUICK, seconds=6)
    results = measure(planned_case("one", "first"), planned_case("two", "second"), protocol=protocol, budget_s=3)
    assert not results.complete
    assert results.incomplete_because == "its budget ended"
    assert 1 <= len(find(results, "one").rounds) < protocol.rounds


def test_half_of_the_budget_is_reserved_for_the_rounds_of_tried_cases() -> None:
    """One trial, of at least seven predictions, takes more than half of the budget."""
    results = measure(planned_case("one", delay_s=0.3), planned_case("two", delay_s=0.3), budget_s=4)
    assert find(results, "one").rounds
    assert (find(results, "two").outcome, find(results, "two").reason) == ("not reached", "its budget ended")
    assert not results.complete


class Stopping(Silent):
    """Raises an error at the step whose message has some words."""

    def __init__(self, words: str, error: BaseException) -> None:
        self.words = words
        self.error = error

    def step(self, text: str) -> None:
        if self.words in text:
            raise self.error


@pytest.mark.parametrize(
    ("words", "error", "cause", "rounds"),
    [
        ("two", KeyboardInterrupt(), "it was interrupted", 0),
        ("round 3", KeyboardInterrupt(), "it was interrupted", 2),
        ("round 3", RuntimeError("a fault"), "it failed: a fault", 2),
    ],
)
def test_a_stopped_run_keeps_its_measurements(words: str, error: BaseException, cause: str, rounds: int) -> None:
    request = BenchRequest(protocol=replace(QUICK, seconds=0.01, warmup_s=0))
    plan = Plan((planned_case("one"), planned_case("two")))
    results, stop = Session(plan, request, ["evim-deploy", "bench"], Stopping(words, error)).measure()
    assert stop is error
    assert (results.complete, results.incomplete_because) == (False, cause)
    for name in ("one", "two"):
        case = find(results, name)
        assert len(case.rounds) == rounds
        assert (case.outcome, case.reason) == (("measured", None) if rounds else ("not reached", cause))


def test_a_failed_preparation_is_recorded_and_the_next_case_is_timed() -> None:
    with_file = replace(ENGINE, file_suffix=".pt")
    broken = [replace(planned_case(name), engine=with_file) for name in ("first", "second")]
    results = measure(*broken, planned_case("third"), protocol=replace(QUICK, seconds=0.01, warmup_s=0))
    for name in ("first", "second"):
        case = find(results, name)
        assert case.outcome == "failed"
        assert "is not a .pt file" in (case.reason or "")
    assert find(results, "third").rounds
    assert find(results, "third", "control").rounds


def test_an_output_that_drifts_is_detected_while_timing() -> None:
    """The output is correct in the trial, and wrong in the process that is timed."""
    results = measure(
        planned_case("steady"), planned_case("drifts", drifts_after=4), protocol=replace(QUICK, seconds=0.01)
    )
    case = find(results, "drifts")
    assert case.outcome == "failed"
    assert judge(results)[case.id].status in (Validity.INVALID, "not measured")
    assert find(results, "steady").outcome == "measured"


def test_the_file_follows_its_schema(mixed: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(to_json(mixed))
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(json.loads(path.read_text()))
    assert read_results(path) == mixed


def test_the_schema_in_the_repository_is_the_one_that_is_written() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()


def test_a_worker_is_held_to_its_memory(tmp_path: Path) -> None:
    """The process that asks for too much memory gets an error."""
    program = tmp_path / "hungry.py"
    program.write_text(
        "import numpy as np\n"
        "def version(): return '1'\n"
        "def open_runner(job): return np.ones((1 << 28,), np.float64)\n"  # 2 GiB
    )
    job = {
        "source": "",
        "precision": "fp32",
        "batch": 1,
        "shape": (3, 1, 1),
        "threads": 1,
        "device": "cpu",
        "layout": "",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with WorkerProcess(limit_bytes=1 << 30) as worker, pytest.raises(OutOfMemory):
            worker.ask("open", module="hungry", job=job, libraries=[], expected=None)


def test_a_killed_worker_is_distinguished_from_a_crashed_one() -> None:
    with WorkerProcess() as worker:
        os.kill(worker.pid, 9)
        with pytest.raises(OutOfMemory, match="memory ran out"):
            worker.ask("memory")
    with WorkerProcess() as worker:
        os.kill(worker.pid, 11)
        with pytest.raises(WorkerFailed, match="SIGSEGV"):
            worker.ask("memory")
