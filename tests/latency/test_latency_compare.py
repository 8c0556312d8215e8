"""Comparison of two runs on one machine: detects a slower model, and does not mistake a slower machine for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evim_deploy.common.errors import BadInput
from latency.compare import compare
from latency.decision import Verdict
from latency.judgement import CONTROL_SUFFIX
from latency.results import SCHEMA, SCHEMA_VERSION, Reading, Results, read_results, to_json

ROUNDS = 20
CPU = {"system": "Linux", "machine": "box", "processor": "one", "cores": 2}


def run(
    seed: int,
    seconds: float = 0.1,
    machine: float = 1.0,
    calibration: bool = True,
    processor: str = "one",
    batch: int = 4,
) -> Results:
    """A run of one case, its control and a calibration workload on a machine slower by a factor."""
    random = np.random.default_rng(seed)
    drift = np.exp(random.normal(0, 0.05, ROUNDS)) * machine

    def member(role: str, seconds: float) -> dict[str, object]:
        samples = seconds * drift[:, None] * random.lognormal(0, 0.01, (ROUNDS, 3))
        return {
            "id": f"model, batch {batch}" if role == "contender" else role,
            "group": "cpu",
            "role": role,
            "subject": {"kind": "model", "name": role, "source": "m1", "weights": "untrained", "form": "folded"},
            "engine": "torch",
            "engine_version": "2",
            "device": "cpu",
            "precision": "fp32",
            "height": 224,
            "width": 224,
            "batch": batch,
            "batch_asked": batch,
            "outcome": "measured",
            "check": {"status": "equal", "against": "the model"},
            "rounds": [
                {"index": index, "started_s": float(index), "samples_s": each}
                for index, each in enumerate(samples.tolist())
            ],
        }

    members = [member("contender", seconds), member("control", seconds)]
    return Results.model_validate(
        {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "tool": "evim-deploy",
            "created": "2026-01-01T00:00:00Z",
            "complete": True,
            "host": {**CPU, "processor": processor},
            "protocol": {"name": "robust", "seconds": 1, "warmup_s": 1, "rounds": ROUNDS, "seed": 0},
            "contenders": [*members, member("yardstick", 0.05)] if calibration else members,
        }
    )


@pytest.mark.parametrize(
    ("seconds", "machine", "expected"),
    [
        (0.105, 1.0, Verdict.SLOWER),
        (0.2, 1.0, Verdict.SLOWER),
        (0.09, 1.0, Verdict.FASTER),
        (0.1, 1.0, Verdict.UNDECIDED),
        (0.1, 1.3, Verdict.UNDECIDED),  # the machine is slower, not the model
        (0.15, 1.3, Verdict.SLOWER),
    ],
)
def test_a_slower_model_is_distinguished_from_a_slower_machine(seconds: float, machine: float, expected: str) -> None:
    (difference,) = compare(run(1), run(2, seconds, machine))
    assert difference.verdict == expected
    assert difference.machine == pytest.approx(machine, rel=0.1)
    assert difference.interval is not None
    assert difference.interval.low < seconds / 0.1 < difference.interval.high


def test_without_a_calibration_workload_times_are_compared_directly() -> None:
    (difference,) = compare(run(1, calibration=False), run(2, 0.2, calibration=False))
    assert (difference.verdict, difference.machine) == (Verdict.SLOWER, None)


def test_a_machine_that_moved_widens_the_noise() -> None:
    (still,), (moved,) = compare(run(1), run(2)), compare(run(1), run(2, machine=2.0))
    assert moved.noise > 0.2 > still.noise


def test_how_far_the_machine_s_movement_is_known_counts() -> None:
    """The noise is a quarter of the deviation in the calibration workload's interval, not only of its estimate."""
    (difference,) = compare(run(1), run(2, machine=1.3))
    assert difference.calibration is not None
    assert difference.calibration.high > difference.calibration.estimate == difference.machine
    assert difference.noise == pytest.approx((difference.calibration.high - 1) / 4)


@pytest.mark.parametrize("suspect", [0, 1])
def test_a_suspect_run_decides_nothing(suspect: int) -> None:
    runs = [run(1), run(2, 0.2)]
    assert [each.verdict for each in compare(*runs)] == [Verdict.SLOWER]
    hot = Reading(at_s=1.0, phase="during", thermal_state="serious")
    runs[suspect] = runs[suspect].model_copy(update={"readings": [hot]})
    (difference,) = compare(*runs)
    assert difference.verdict == Verdict.UNDECIDED
    assert difference.decision.reason == f"the figure in {'AB'[suspect]} is suspect"
    assert difference.judgements[suspect].reasons == ("the device was hot",)


def test_a_control_of_either_run_bounds_what_is_decided() -> None:
    """The second run took 1.2 times as long, which a control with an uncertainty of a fifth cannot confirm."""
    slower = run(2, 0.12)
    assert [each.verdict for each in compare(run(1), slower)] == [Verdict.SLOWER]
    factors = np.exp(0.4 * np.array([1, 1, -1, -1] * 5))
    model = slower.cases[0]
    twin = model.model_copy(
        update={
            "id": f"{model.id}{CONTROL_SUFFIX}",
            "role": "control",
            "rounds": [
                each.model_copy(update={"samples_s": [factor * sample for sample in each.samples_s]})
                for each, factor in zip(model.rounds, factors, strict=True)
            ],
        }
    )
    others = [each for each in slower.cases if each.role != "control"]
    noisy = slower.model_copy(update={"cases": [*others, twin]})
    (difference,) = compare(run(1), noisy)
    assert difference.noise > 0.2
    assert difference.verdict == Verdict.UNDECIDED
    assert not difference.decision.doubtful


def test_two_machines_are_not_compared() -> None:
    with pytest.raises(BadInput, match=r"different machines .*processor: 'one' and 'two'"):
        compare(run(1), run(2, processor="two"))


def test_runs_of_different_things_are_not_compared() -> None:
    with pytest.raises(BadInput, match="no case in common"):
        compare(run(1), run(2, batch=8))


def test_a_results_file_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(to_json(run(1)))
    assert read_results(path) == run(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"schema": "evim-deploy-latency", "schema_ver', "only a part"),
        ("", "only a part"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "not a file of latency results"),
        ('{"schema": "coco"}', "not a file of latency results"),
        ('{"schema": "evim-deploy-latency", "schema_version": 99}', "schema version 99"),
        ('{"schema": "evim-deploy-latency", "schema_version": "1"}', "schema_version"),
        ('{"schema": "evim-deploy-latency", "schema_version": 1}', "breaks the schema"),
        ("\x00\xff", "not JSON"),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInput) as error:
        read_results(path)
    assert words in error.value.cause
    assert str(path) in error.value.cause


def test_a_file_with_an_impossible_value_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(to_json(run(1)).replace('"batch": 4', '"batch": -4'))
    with pytest.raises(BadInput, match="breaks the schema"):
        read_results(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_results(tmp_path / "none.json")
