"""``doctor --self-test``: its report of passes, failures and missing packages."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from command import assert_done, run

import exporters
import runtimes
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.commands import self_test
from evim_deploy.commands.self_test import SelfTest, SelfTestCheck, SelfTestStatus
from evim_deploy.common.errors import NotInstalled, ParityFailed
from evim_deploy.images import digits
from exporters import FORMATS


@pytest.fixture
def onnx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest format, in its fastest precisions."""
    row = replace(FORMATS["onnx"], precisions=UNQUANTISED)
    monkeypatch.setattr(exporters, "FORMATS", {"onnx": row})


def assert_all_right(checks: list[dict[str, Any]]) -> None:
    """Check that every precision of every format passes in every engine of this host."""
    rows = [(each["format"], each["precision"], each["engine"]) for each in checks]
    assert rows == [
        (format_.name, precision, engine.name)
        for format_ in exporters.FORMATS.values()
        for precision in format_.precisions
        for engine in runtimes.engines_of(format_.suffix)
    ]
    for each in checks:
        if reason := runtimes.unavailable_reason(runtimes.ENGINES[each["engine"]]):
            assert (each["status"], each["reason"], each["top1"]) == (SelfTestStatus.NOT_RUN, reason, None)
        else:
            count = self_test.FEWER.get(each["engine"], self_test.IMAGES)
            assert (each["status"], each["parity"], each["count"]) == (SelfTestStatus.PASS, SelfTestStatus.PASS, count)
            assert each["top1"] >= self_test.LEAST_TOP1


@pytest.mark.slow
def test_the_chain_is_tried_in_every_format_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the quantised precisions, which test_accuracy_gate.py proves and measures on the same pictures."""
    rows = {name: replace(row, precisions=UNQUANTISED) for name, row in FORMATS.items()}
    monkeypatch.setattr(exporters, "FORMATS", rows)
    result = self_test.self_test()
    assert_all_right([asdict(each) for each in result.checks])
    assert result.status == SelfTestStatus.PASS


@pytest.mark.exhaustive
def test_the_command_tries_every_precision() -> None:
    result = run("doctor", "--self-test", "--json", "--quiet")
    assert_done(result)
    test = json.loads(result.stdout)["self_test"]
    assert_all_right(test["checks"])
    assert test["status"] == SelfTestStatus.PASS


@pytest.mark.usefixtures("onnx_alone")
def test_wrong_predictions_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, labels = digits.held_out()
    shifted = labels.copy()
    shifted[:5] = (labels[:5] + 1) % 10  # 2.5 % of what is read
    monkeypatch.setattr(digits, "held_out", lambda: (pictures, shifted))
    result = self_test.self_test()
    assert {(check.status, check.parity) for check in result.checks} == {(SelfTestStatus.FAIL, SelfTestStatus.PASS)}
    assert result.status == SelfTestStatus.FAIL
    assert [type(problem) for problem in result.problems()] == [ParityFailed] * len(UNQUANTISED)
    assert "%, below 98 %" in result.problems()[0].cause


@pytest.mark.usefixtures("onnx_alone")
@pytest.mark.parametrize("name", ["export", "predict"])
def test_a_broken_package_fails_with_its_reason(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(*_: Any) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file\nmore")

    monkeypatch.setattr(self_test, name, broken)
    result = self_test.self_test()
    assert {(each.status, each.reason) for each in result.checks} == {
        (SelfTestStatus.FAIL, "libgomp.so.1: cannot open shared object file")
    }


def test_a_missing_package_is_not_a_failure_unless_all_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = self_test.self_test()
    assert [(check.format, check.status) for check in result.checks] == [
        (name, SelfTestStatus.NOT_INSTALLED) for name in FORMATS
    ]
    assert "coremltools" in result.checks[0].reason
    assert result.status == SelfTestStatus.NOT_RUN
    (problem,) = result.problems()
    assert problem.exit_code == NotInstalled.exit_code


def test_one_format_that_passes_is_enough() -> None:
    result = SelfTest(
        (
            SelfTestCheck(format="onnx", precision="fp32", engine="onnxruntime"),
            SelfTestCheck(format="tflite", status=SelfTestStatus.NOT_INSTALLED),
        ),
        1.0,
    )
    assert (result.status, result.problems()) == (SelfTestStatus.PASS, [])


@pytest.mark.usefixtures("onnx_alone")
def test_a_changed_weights_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    (problem, *_) = self_test.self_test().problems()
    assert "is not the file that ships" in problem.cause
