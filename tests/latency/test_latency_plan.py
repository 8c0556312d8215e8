"""The plan of a request, and the errors of invalid requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evim_deploy.catalog.variants import parse_model
from evim_deploy.common.errors import BadInput, EvimError, NotInstalled, UsageProblem
from exporters import FORMATS
from latency import engines
from latency.enums import SubjectKind
from latency.plan import BenchRequest, Plan, plan
from latency.protocol import PROTOCOLS
from latency.tolerances import max_error

ROBUST = PROTOCOLS["robust"]
M1 = parse_model("m1")


def planned(**asked: Any) -> Plan:
    return plan(BenchRequest(**{"protocol": ROBUST, "models": (M1,), **asked}))


def test_the_papers_cpu_setting_is_the_default() -> None:
    (entry,) = planned().cases
    assert (entry.engine.name, entry.device, entry.batch, entry.threads, entry.precision) == (
        "torch",
        "cpu",
        16,
        1,
        "fp32",
    )
    assert (entry.height, entry.width, entry.setting) == (224, 224, "cpu")


@pytest.mark.parametrize(
    "asked", [{"batches": (8,)}, {"threads": (2,)}, {"sizes": ((256, 256),)}, {"precisions": ("bf16",)}]
)
def test_a_deviation_from_the_paper_is_not_the_papers_setting(asked: dict[str, Any]) -> None:
    assert [entry.setting for entry in planned(**asked).cases] == [None]


def test_the_gpu_setting_is_unavailable_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    entries = planned(settings=("gpu",)).cases
    assert {entry.batch for entry in entries} == {256}
    assert {(entry.engine.name, entry.precision) for entry in entries} == {
        (engine, precision) for engine in ("torch", "torchscript", "torch-compile") for precision in ("fp16", "bf16")
    }
    assert all(
        "a CUDA device is missing; run the same command on a machine with" in entry.unavailable_reason
        for entry in entries
    )


def test_the_iphone_setting_says_where_a_phones_file_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    (entry,) = planned(settings=("iphone",)).cases
    assert (entry.engine.name, entry.device, entry.batch, entry.precision) == ("coreml", "coreml", 1, "fp16")
    assert "macOS only" in entry.unavailable_reason
    assert "--import" in entry.unavailable_reason


def test_cases_of_the_same_size_batch_and_threads_form_a_group() -> None:
    entries = planned(peers=("table-e",), sizes=((224, 224), (512, 512)), threads=(1, None)).cases
    groups = {entry.group: [e for e in entries if e.group == entry.group] for entry in entries}
    assert len(groups) == 4
    for members in groups.values():
        assert len(members) == 5
        assert len({(e.height, e.batch, e.threads) for e in members}) == 1
        assert members[0].subject.name == "EfficientViM-M1"
    assert len({entry.id for entry in entries}) == len(entries)


def test_an_unsupported_combination_is_left_out_with_a_note() -> None:
    found = planned(engines=("torch", "onnxruntime", "litert"), precisions=("fp32", "bf16"), peers=("figure-3",))
    assert {(e.engine.name, e.precision) for e in found.cases} == {
        ("torch", "fp32"),
        ("torch", "bf16"),
        ("onnxruntime", "fp32"),
        ("litert", "fp32"),
    }
    assert any("bf16 is left out" in note for note in found.notes)
    assert any("HSM-SSD single-head is not timed in litert" in note for note in found.notes)


def test_one_run_has_ours_quantised_beside_peers_in_floating_point() -> None:
    found = planned(
        engines=("onnxruntime", "openvino"), precisions=("fp32", "bf16", "int8", "dynamic"), peers=("efficientvim_m1",)
    )
    assert len({entry.group for entry in found.cases}) == 1
    ours = {
        (e.engine.name, e.precision, e.engine.file_precision(e.precision))
        for e in found.cases
        if e.subject.kind == "model"
    }
    peers = {(e.engine.name, e.precision) for e in found.cases if e.subject.kind == "peer"}
    assert ours == {
        *(("onnxruntime", precision, precision) for precision in ("fp32", "int8", "dynamic")),
        *(("openvino", precision, precision) for precision in ("fp32", "int8", "dynamic")),
        ("openvino", "bf16", "fp32"),
    }
    assert peers == {("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")}
    assert "efficientvim_m1 is not timed in int8: quantised files are EfficientViM's." in found.notes
    assert "onnxruntime is timed in fp32, fp16, int8, dynamic on the cpu: bf16 is left out." in found.notes


def test_core_mls_precisions_are_unavailable_outside_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    entries = planned(engines=("coreml",), precisions=FORMATS["coreml"].precisions).cases
    assert [entry.precision for entry in entries] == list(FORMATS["coreml"].precisions)
    assert all("macOS only" in entry.unavailable_reason for entry in entries)


def test_every_precision_has_a_tolerance() -> None:
    for engine in engines.ENGINES.values():
        for precision in {name for names in engine.precisions.values() for name in names}:
            assert 0 < max_error(SubjectKind.MODEL, precision, engine.file_precision(precision)) < 1


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"engines": ("tensorrt",)}, UsageProblem, "Unknown engine 'tensorrt'"),
        ({"peers": ("resnet-9000",)}, UsageProblem, "Unknown peer 'resnet-9000'"),
        ({"settings": ("watch",)}, UsageProblem, "Unknown setting 'watch'"),
        ({"device": "tpu"}, BadInput, "not on tpu"),
        ({"engines": ("onnxruntime",), "precisions": ("int4",)}, BadInput, "int4 is left out"),
        ({"protocol": replace(ROBUST, seconds=0)}, BadInput, "0 seconds of timing"),
        ({"protocol": replace(ROBUST, seconds=-1)}, BadInput, "--seconds"),
        ({"protocol": replace(ROBUST, seconds=float("nan"))}, BadInput, "--seconds"),
        ({"protocol": replace(ROBUST, rounds=0)}, BadInput, "--rounds"),
        ({"protocol": replace(ROBUST, warmup_s=-1)}, BadInput, "--warmup"),
        ({"batches": (0,)}, BadInput, "--batch"),
        ({"threads": (0,)}, BadInput, "--threads"),
        ({"sizes": ((8, 8),)}, BadInput, "--resolution"),
        ({"sizes": ((8192, 8192),)}, BadInput, "--resolution"),
        ({"budget_s": 0.0}, BadInput, "--budget"),
        ({"layouts": ("sideways",)}, UsageProblem, "Unknown layout 'sideways'"),
        ({"artifacts": (Path("nowhere.onnx"),)}, BadInput, "nowhere.onnx"),
    ],
)
def test_an_impossible_request_is_an_error(asked: dict[str, Any], kind: type[EvimError], words: str) -> None:
    with pytest.raises(kind) as error:
        planned(**asked)
    assert words in str(error.value)
    assert error.value.remedy


def test_an_engine_that_is_not_installed_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        engines.ENGINES, "openvino", replace(engines.ENGINES["openvino"], requires=("openvino-from-nowhere",))
    )
    with pytest.raises(NotInstalled) as error:
        planned(engines=("openvino",))
    assert 'pip install "evim-deploy[bench]"' in error.value.remedy
