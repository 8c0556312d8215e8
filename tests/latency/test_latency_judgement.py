"""The judgement of results files: the validity of figures, and the comparisons with baselines."""

from __future__ import annotations

from typing import Any

import pytest
from latency_files import make_case, make_results

from latency.decision import (
    SMALLEST_EFFECT,
    TOO_FEW,
    Decision,
    Judgement,
    Validity,
    Verdict,
    decide,
    format_noise,
    noise_bound,
)
from latency.judgement import CONTROL_SUFFIX, compare_with_baseline, groups, judge
from latency.results import Case, Check, Reading, Results
from latency.statistics import Interval

WRONG = Check(status="different", against="PyTorch", error=0.4, tolerance=1e-4)
UNCHECKED = Check(status="not checked", against="the file does not say what it was made from")


def control_of(member: Case, seconds: float) -> Case:
    """A second process of a case, with the given seconds per image."""
    return make_case(member.subject.name, seconds, id=f"{member.id}{CONTROL_SUFFIX}", role="control", seed=7)


def reading(at_s: float, phase: Any = "during", **told: Any) -> Reading:
    return Reading(at_s=at_s, phase=phase, **told)


def status(results: Results) -> tuple[str, str]:
    """Status of the first case, and the reasons."""
    judged = judge(results)[results.cases[0].id]
    return judged.status, "; ".join(judged.reasons)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, Validity.VALID, ""),
        ({"check": WRONG}, Validity.INVALID, "its answers differ"),
        ({"check": UNCHECKED}, Validity.SUSPECT, "not checked: the file does not say"),
        ({"check": None}, Validity.SUSPECT, "not checked"),
        ({"outcome": "failed", "reason": "it broke"}, Validity.INVALID, "it failed on the way: it broke"),
        ({"outcome": "out of memory", "reason": "no more"}, Validity.INVALID, "no more"),
        ({"rounds": 7}, Validity.SUSPECT, "7 of 20 rounds"),
        ({"rounds": 2, "samples": 2}, Validity.SUSPECT, "it has 4 samples"),
        (
            {"seconds": None, "outcome": "not reached", "reason": "its budget ended"},
            Validity.NOT_MEASURED,
            "its budget ended",
        ),
    ],
)
def test_the_validity_of_a_figure(changes: dict[str, Any], expected: str, words: str) -> None:
    found, why = status(make_results([make_case(**changes)]))
    assert found == expected
    assert words in why


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"steal_share": 0.2}, "20% of the processor's time was stolen"),
        ({"others_share": 0.5}, "50% of a core went to other processes"),
        ({"thermal_state": "serious"}, "the device was hot"),
        ({"low_power_mode": True}, "low power mode"),
    ],
)
def test_readings_of_the_host_make_a_figure_suspect(told: dict[str, Any], words: str) -> None:
    """There is a reading after each round, including the last one."""
    rounds = make_case().rounds
    after_the_last = rounds[-1].started_s + 5
    found, why = status(make_results([make_case()], readings=[reading(after_the_last, **told)]))
    assert (found, words in why) == (Validity.SUSPECT, True)


def test_heat_is_detected_from_the_counts_before_and_after() -> None:
    counts = [reading(0.0, "before", throttled=3), reading(15.0, throttled=3), reading(500.0, "after", throttled=4)]
    begun = make_case(rounds=20)
    shifted = [each.model_copy(update={"started_s": each.started_s + 1}) for each in begun.rounds]
    results = make_results([begun.model_copy(update={"rounds": shifted})], readings=counts)
    assert "slowed down for heat" in status(results)[1]
    still = [each.model_copy(update={"throttled": 3}) for each in counts]
    assert status(results.model_copy(update={"readings": still}))[0] == Validity.VALID


def test_a_disturbance_of_one_group_does_not_affect_another() -> None:
    first = make_case(group="first")
    later = [each.model_copy(update={"started_s": each.started_s + 1000}) for each in first.rounds]
    second = first.model_copy(update={"id": "second", "group": "second", "rounds": later})
    results = make_results([first, second], readings=[reading(1100.0, steal_share=0.5)])
    judged = judge(results)
    assert (judged[first.id].status, judged["second"].status) == (Validity.VALID, Validity.SUSPECT)


def test_the_control_is_compared_with_the_case_that_it_repeats() -> None:
    """The repeated case need not be the first of the group, which may have failed."""
    lost = make_case("SHViT-S4", None, outcome="failed", reason="it broke")
    twin = make_case()
    (group,) = groups(make_results([lost, twin, control_of(twin, 0.0362 * 1.08)])).values()
    assert group.control is not None
    assert group.control.estimate == pytest.approx(1.08, abs=0.01)
    assert group.control.high > group.control.estimate
    assert group.noise == group.control.high - 1


def test_without_a_control_the_noise_is_the_smallest_effect() -> None:
    (group,) = groups(make_results([make_case()])).values()
    assert (group.control, group.noise) == (None, SMALLEST_EFFECT)


@pytest.mark.parametrize(
    ("control", "ratio", "expected"),
    [
        (Interval(1.01, 0.798, 1.04), None, 1 / 0.798 - 1),  # by the estimate it was 1 %
        (Interval(0.99, 0.96, 1.2), None, 0.2),
        (Interval(1.0, 0.999, 1.001), None, SMALLEST_EFFECT),
        (Interval(1.05, 1.03, 1.07), Interval(2, 1, 4), 0.07),
        (None, Interval(2, 1.9, 2.1), 0.05),
        (None, Interval(2, 1.999, 2.001), SMALLEST_EFFECT),
        (None, None, SMALLEST_EFFECT),
    ],
)
def test_the_noise_covers_the_interval(control: Interval | None, ratio: Interval | None, expected: float) -> None:
    """The control's interval, or without a control the ratio's, moved to 1."""
    noise = noise_bound(control, ratio)
    assert noise == pytest.approx(expected)
    if control is not None:
        assert 1 / (1 + noise) <= control.low * (1 + 1e-12)
        assert control.high <= (1 + noise) * (1 + 1e-12)


def test_the_noise_is_formatted_as_a_percentage() -> None:
    assert [format_noise(each) for each in (0.253, 1.0, 40.0)] == ["25.3%", "100.0%", "over 100%"]


def figure(status: str) -> Judgement:
    return Judgement(status, (), None)


@pytest.mark.parametrize(
    ("interval", "first", "second", "expected"),
    [
        (Interval(2, 1.9, 2.1), Validity.VALID, Validity.VALID, Decision(Verdict.SLOWER)),
        (
            Interval(2, 1.9, 2.1),
            Validity.VALID,
            Validity.SUSPECT,
            Decision(Verdict.UNDECIDED, "B is suspect", doubtful=True),
        ),
        (
            Interval(2, 1.9, 2.1),
            Validity.SUSPECT,
            Validity.VALID,
            Decision(Verdict.UNDECIDED, "A is suspect", doubtful=True),
        ),
        (
            Interval(2, 1.9, 2.1),
            Validity.SUSPECT,
            Validity.SUSPECT,
            Decision(Verdict.UNDECIDED, "both figures are suspect", doubtful=True),
        ),
        (
            Interval(2, 1.9, 2.1),
            Validity.SUSPECT,
            Validity.INVALID,
            Decision(Verdict.UNDECIDED, "A is suspect and B is invalid", doubtful=True),
        ),
        (None, Validity.VALID, Validity.VALID, Decision(Verdict.UNDECIDED, TOO_FEW)),
        (None, Validity.VALID, Validity.SUSPECT, Decision(Verdict.UNDECIDED, "B is suspect", doubtful=True)),
        (
            Interval(1.02, 1.01, 1.03),
            Validity.VALID,
            Validity.VALID,
            Decision(Verdict.UNDECIDED, "its interval is not beyond the noise, 2.0%"),
        ),
    ],
)
def test_valid_figures_alone_decide(interval: Interval | None, first: str, second: str, expected: Decision) -> None:
    assert decide(interval, 0.02, {"A": figure(first), "B": figure(second)}) == expected


@pytest.mark.parametrize("changes", [{"check": UNCHECKED}, {"rounds": 15}, {"outcome": "failed", "reason": "it broke"}])
@pytest.mark.parametrize("place", [0, 1])
def test_a_doubtful_figure_is_called_neither_faster_nor_slower(changes: dict[str, Any], place: int) -> None:
    """Neither the figure itself, nor any other figure in its group."""
    members = [make_case(), make_case("SHViT-S4", 0.0181)]
    assert compare_with_baseline(make_results(members))[members[1].id].verdict != Verdict.UNDECIDED
    name, seconds = ("EfficientViM-M4", 0.0362) if place == 0 else ("SHViT-S4", 0.0181)
    members[place] = make_case(name, seconds, **changes)
    assert {each.verdict for each in compare_with_baseline(make_results(members)).values()} <= {Verdict.UNDECIDED}


def test_a_control_that_failed_makes_all_suspect() -> None:
    twin = make_case()
    failed = control_of(twin, 0.0362).model_copy(update={"outcome": "failed", "reason": "it died"})
    results = make_results([twin, failed])
    assert status(results) == (Validity.SUSPECT, "a second process of the same thing was not timed: it died")
    (group,) = groups(results).values()
    assert group.control is None


def test_the_baseline_is_the_first_that_was_timed() -> None:
    lost = make_case("SHViT-S4", None, outcome="out of memory", reason="no more")
    wrong = make_case("MobileOne-S4", 0.01, check=WRONG)
    first, second = make_case(), make_case("FastViT-T12", 0.0904)
    found = compare_with_baseline(make_results([lost, wrong, first, second]))
    assert list(found) == [second.id]
    assert found[second.id].baseline.id == first.id


def test_a_control_that_deviates_makes_all_suspect() -> None:
    twin = make_case()
    found, why = status(make_results([twin, control_of(twin, 0.0362 * 1.1)]))
    assert found == Validity.SUSPECT
    assert "a second process of the same thing" in why


@pytest.mark.parametrize(("factor", "expected"), [(1.05, Validity.VALID), (1.3, Validity.SUSPECT)])
def test_a_phone_that_becomes_slower_is_suspect(factor: float, expected: str) -> None:
    """Its thermal state may stay nominal; with a calibration workload the speed of the machine is measured instead."""
    steady = make_case()
    half = len(steady.rounds) // 2
    rounds = [
        each.model_copy(update={"samples_s": [s * (factor if each.index >= half else 1) for s in each.samples_s]})
        for each in steady.rounds
    ]
    slower = steady.model_copy(update={"rounds": rounds})
    found, words = status(make_results([slower]))
    assert found == expected
    assert ("at the end as at the beginning" in words) is (expected == Validity.SUSPECT)
    calibration = make_case(id="yardstick", role="yardstick")
    assert status(make_results([slower, calibration]))[0] == Validity.VALID
