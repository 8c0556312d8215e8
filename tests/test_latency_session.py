"""A run, with an engine whose every delay is known beforehand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_engine import ENGINE, entry

from evim_deploy.common.progress import Silent
from latency.judgement import INVALID, SLOWER, SMALLEST_EFFECT, UNDECIDED, compare_with_baseline, judge, verdict
from latency.plan import BenchRequest, Entry, Plan
from latency.process import OutOfMemory, WorkerFailed, WorkerProcess
from latency.protocol import PROTOCOLS, Protocol
from latency.results import SCHEMA_FILE, Contender, Results, json_schema, read_results, to_json
from latency.session import Session

QUICK = replace(PROTOCOLS["robust"], seconds=0.4, warmup_s=0.02, rounds=6)


@pytest.fixture(autouse=True, scope="module")
def _workers_find_the_engine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))))
        yield


def measure(*entries: Entry, protocol: Protocol = QUICK, budget_s: float | None = None) -> Results:
    request = BenchRequest(protocol, budget_s=budget_s, memory=True, breakdown=True)
    results, stop = Session(Plan(entries), request, ["evim-deploy", "bench"], Silent()).measure()
    assert stop is None
    return results


def find(results: Results, name: str, role: str = "contender") -> Contender:
    return next(each for each in results.contenders if (each.subject.name, each.role) == (name, role))


@pytest.fixture(scope="module")
def mixed() -> Results:
    """Contenders of every fate, timed together."""
    return measure(
        entry("plain", delay_s=0.01, mode="floats in bf16"),
        entry("twice", delay_s=0.02),
        entry("same", delay_s=0.01),
        entry("bumpy", delay_s=0.01, slow_every=11, slow_s=0.03),
        entry("large", batch=16, fits=4, delay_s=0.01),
        entry("breaks", breaks_after=20),
        entry("dies", dies=1),
        entry("never fits", fits=0),
        replace(entry("elsewhere"), absent="there is none here; go there"),
    )


def test_what_an_engine_chose_itself_is_its_mode(mixed: Results) -> None:
    assert find(mixed, "plain").mode == find(mixed, "plain", "control").mode == "floats in bf16"
    assert find(mixed, "twice").mode is None


def test_known_delays_give_known_statistics(mixed: Results) -> None:
    judged = judge(mixed)
    for name, delay in (("plain", 0.01), ("twice", 0.02)):
        contender = find(mixed, name)
        summary = judged[contender.id].summary
        assert summary is not None
        assert delay <= summary.minimum
        assert summary.median == pytest.approx(delay, rel=0.1)
        assert summary.count >= QUICK.rounds * QUICK.least_samples
        assert sum(contender.samples) >= QUICK.seconds
    comparison = compare_with_baseline(mixed)[find(mixed, "twice").id]
    assert comparison.interval is not None
    assert comparison.interval.estimate == pytest.approx(2, rel=0.1)
    assert verdict(comparison.interval, SMALLEST_EFFECT) == SLOWER  # whatever else the machine is doing


def test_the_control_and_the_yardstick_ran_beside_them(mixed: Results) -> None:
    control = find(mixed, "plain", "control")
    assert len(control.rounds) == QUICK.rounds
    assert control.samples != find(mixed, "plain").samples
    assert len(find(mixed, "yardstick", "yardstick").rounds) == QUICK.rounds


def test_outliers_are_flagged_and_kept(mixed: Results) -> None:
    contender = find(mixed, "bumpy")
    summary = judge(mixed)[contender.id].summary
    assert summary is not None
    slow = {place for place, sample in enumerate(contender.samples) if sample > 0.03}
    assert slow
    assert slow <= set(summary.outliers)
    assert summary.count == len(contender.samples)


def test_the_order_of_a_round_is_drawn_from_the_seed(mixed: Results) -> None:
    """Over the contenders that could be opened, the control and the yardstick."""
    opened = [each for each in mixed.contenders if each.rounds or each.reason == "RuntimeError: it broke"]
    drawn = np.random.default_rng(mixed.protocol.seed)
    orders = []
    for index in range(QUICK.rounds):
        expected = [opened[place] for place in drawn.permutation(len(opened))]
        starts = {member.id: each.started_s for member in opened for each in member.rounds if each.index == index}
        orders.append([member.id for member in expected if member.id in starts])
        assert orders[-1] == sorted(starts, key=lambda id_: starts[id_])
    assert len({tuple(order) for order in orders}) == QUICK.rounds


def test_the_batch_halves_while_memory_runs_out(mixed: Results) -> None:
    contender = find(mixed, "large")
    assert (contender.batch_asked, contender.batch, contender.outcome) == (16, 4, "measured")
    assert [(each.batch, each.outcome) for each in contender.attempts] == [
        (16, "out of memory"),
        (8, "out of memory"),
        (4, "fits"),
    ]
    ratio = compare_with_baseline(mixed)[contender.id].interval
    assert ratio is not None
    assert ratio.estimate == pytest.approx(0.5, rel=0.1)  # as long for four images as the baseline for two


def test_what_fits_at_no_batch_is_recorded_so(mixed: Results) -> None:
    contender = find(mixed, "never fits")
    assert contender.outcome == "out of memory"
    assert [each.batch for each in contender.attempts] == [2, 1]
    assert not contender.rounds


def test_a_failed_prediction_is_never_a_fast_one(mixed: Results) -> None:
    for name, cause in (("breaks", "it broke"), ("dies", "exit code 3")):
        contender = find(mixed, name)
        assert contender.outcome == "failed"
        assert cause in (contender.reason or "")
        assert judge(mixed)[contender.id].status in (INVALID, "not measured")
        assert contender.id not in compare_with_baseline(mixed)


def test_what_is_not_on_this_host_says_so(mixed: Results) -> None:
    contender = find(mixed, "elsewhere")
    assert (contender.outcome, contender.reason) == ("not run on this host", "there is none here; go there")


def test_cold_start_memory_and_breakdown_are_apart(mixed: Results) -> None:
    contender = find(mixed, "plain")
    assert contender.cold_start is not None
    assert contender.cold_start.first_prediction_s == pytest.approx(0.01, rel=0.5)
    assert contender.memory is not None
    assert contender.memory.peak_bytes >= contender.memory.before_bytes > 0
    assert contender.breakdown is not None
    assert contender.breakdown[0].seconds == 0.01


def test_readings_before_during_and_after(mixed: Results) -> None:
    phases = [reading.phase for reading in mixed.readings]
    assert (phases[0], phases[-1]) == ("before", "after")
    assert phases.count("during") == QUICK.rounds


def test_equal_contenders_are_not_told_apart(mixed: Results) -> None:
    assert compare_with_baseline(mixed)[find(mixed, "same").id].verdict == UNDECIDED


def test_the_paper_protocol_times_each_alone() -> None:
    protocol = replace(PROTOCOLS["paper"], seconds=0.3, warmup_s=0.1)
    results = measure(entry("one", delay_s=0.01), entry("other", delay_s=0.01), protocol=protocol)
    assert [each.role for each in results.contenders] == ["contender", "contender"]
    assert [len(each.rounds) for each in results.contenders] == [1, 1]
    assert results.protocol.deviations == [
        "0.3 seconds of timing instead of 60",
        "0.1 seconds of warm-up instead of 10",
    ]
    assert min(each.warmup_s for each in results.contenders) >= 0.1


def test_a_budget_ends_the_run_and_what_was_measured_is_kept() -> None:
    protocol = replace(QUICK, seconds=6)
    results = measure(entry("one", "first"), entry("two", "second"), protocol=protocol, budget_s=3)
    assert not results.complete
    assert results.incomplete_because == "its budget ended"
    assert 1 <= len(find(results, "one").rounds) < protocol.rounds


def test_half_of_the_budget_is_kept_for_rounds_of_those_that_were_tried() -> None:
    """One trial takes more than half of it: seven predictions or more."""
    results = measure(entry("one", delay_s=0.3), entry("two", delay_s=0.3), budget_s=4)
    assert find(results, "one").rounds
    assert (find(results, "two").outcome, find(results, "two").reason) == ("not reached", "its budget ended")
    assert not results.complete


class Stopping(Silent):
    """Raises at the step that says some words."""

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
def test_what_stops_a_run_keeps_what_was_measured(words: str, error: BaseException, cause: str, rounds: int) -> None:
    request = BenchRequest(replace(QUICK, seconds=0.01, warmup_s=0))
    plan = Plan((entry("one"), entry("two")))
    results, stop = Session(plan, request, ["evim-deploy", "bench"], Stopping(words, error)).measure()
    assert stop is error
    assert (results.complete, results.incomplete_because) == (False, cause)
    for name in ("one", "two"):
        contender = find(results, name)
        assert len(contender.rounds) == rounds
        assert (contender.outcome, contender.reason) == (("measured", None) if rounds else ("not reached", cause))


def test_what_cannot_be_made_ready_is_told_and_the_next_is_timed() -> None:
    takes = replace(ENGINE, takes=".pt")
    broken = [replace(entry(name), engine=takes) for name in ("first", "second")]
    results = measure(*broken, entry("third"), protocol=replace(QUICK, seconds=0.01, warmup_s=0))
    for name in ("first", "second"):
        contender = find(results, name)
        assert contender.outcome == "failed"
        assert "is no .pt file" in (contender.reason or "")
    assert find(results, "third").rounds
    assert find(results, "third", "control").rounds


def test_an_answer_that_drifts_is_caught_where_it_is_timed() -> None:
    """The answer is right when the contender is tried alone, and wrong in the process that is timed."""
    results = measure(entry("steady"), entry("drifts", drifts_after=4), protocol=replace(QUICK, seconds=0.01))
    contender = find(results, "drifts")
    assert contender.outcome == "failed"
    assert judge(results)[contender.id].status in (INVALID, "not measured")
    assert find(results, "steady").outcome == "measured"


def test_the_file_follows_its_schema(mixed: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(to_json(mixed))
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(json.loads(path.read_text()))
    assert read_results(path) == mixed


def test_the_schema_in_the_repository_is_the_one_that_is_written() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()


def test_a_worker_is_held_to_its_memory(tmp_path: Path) -> None:
    """Memory runs out as an error of the process that asked for too much."""
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


def test_a_worker_that_was_killed_is_told_from_one_that_fell() -> None:
    with WorkerProcess() as worker:
        os.kill(worker.pid, 9)
        with pytest.raises(OutOfMemory, match="want of memory"):
            worker.ask("memory")
    with WorkerProcess() as worker:
        os.kill(worker.pid, 11)
        with pytest.raises(WorkerFailed, match="SIGSEGV"):
            worker.ask("memory")
