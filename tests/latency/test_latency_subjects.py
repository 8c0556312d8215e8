"""The subjects: tables of peers, names, and preparation for an engine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_timm
from onnx2tf_here import needs_onnx2tf

import runtimes
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.common.errors import BadInput, NotInstalled, ParityFailed, UsageProblem
from latency.artifacts import FixedInput
from latency.engines import first_image
from latency.peers import MISSING, TABLE_3, TABLE_E, Peer, find_peers
from latency.plan import BenchRequest, plan
from latency.protocol import PROTOCOLS
from latency.subjects import artifact_subject, mixer_subjects, model_subject, peer_subject

SIDE = 64


# --- names


def test_the_tables_name_networks_that_timm_has() -> None:
    import timm

    assert all(timm.is_model(peer.timm) for peer in TABLE_3)
    assert len({peer.timm for peer in TABLE_3}) == len({peer.paper for peer in TABLE_3}) == len(TABLE_3)


def test_table_e_is_the_papers() -> None:
    found = {peer.timm: (peer.paper, peer.resolution) for peer in TABLE_E}
    assert found == {
        "shvit_s4": ("SHViT-S4", 256),
        "fastvit_t12": ("FastViT-T12", 256),
        "mobileone_s4": ("MobileOne-S4", 224),
        "mobilevitv2_100": ("MobileViTV2 1.0", 256),
    }


@pytest.mark.parametrize("text", ["shvit_s4", "SHViT-S4", " shvit-s4 "])
def test_a_peer_goes_by_timms_and_the_papers_name(text: str) -> None:
    assert find_peers(text) == (Peer("shvit_s4", "SHViT-S4", 256),)


def test_a_table_is_all_of_its_peers() -> None:
    assert find_peers("Table-E") == TABLE_E
    assert find_peers("table-3") == TABLE_3


def test_a_network_of_timm_alone_is_a_peer_too() -> None:
    assert find_peers("efficientnet_b1") == (Peer("efficientnet_b1", None, 240),)


def test_an_unknown_peer_is_an_error_with_the_alternatives() -> None:
    with pytest.raises(UsageProblem) as caught:
        find_peers("shvit_s9")
    assert caught.value.cause == "Unknown peer 'shvit_s9'."
    assert "table-e" in caught.value.remedy
    assert "timm.list_models()" in caught.value.remedy


@pytest.mark.parametrize(("text", "family"), [("EMO-1M", "EMO"), ("mobileformer-96m", "MobileFormer")])
def test_a_network_that_timm_lacks_is_an_error_with_the_reason(text: str, family: str) -> None:
    with pytest.raises(UsageProblem, match=MISSING[family]) as caught:
        find_peers(text)
    assert "--artifact" in caught.value.remedy


def test_without_timm_the_message_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalled) as caught:
        find_peers("shvit_s4")
    assert 'pip install "evim-deploy[bench]"' in caught.value.remedy


def test_subjects_are_named_as_in_the_paper() -> None:
    assert model_subject(parse_model("m4")).name == "EfficientViM-M4"
    distilled = model_subject(parse_model("m1_dist"))
    assert (distilled.name, distilled.source, distilled.resolution, distilled.paper) == (
        "EfficientViM-M1-dist",
        "m1_dist",
        224,
        "EfficientViM-M1",
    )
    assert model_subject(parse_model("digits")).paper is None
    assert peer_subject(TABLE_3[0]).name == "MobileViTV2 0.5"
    assert peer_subject(Peer("efficientnet_b1", None, 240)).name == "efficientnet_b1"
    assert [subject.source for subject in mixer_subjects()] == ["single-head", "multi-head"]
    assert artifact_subject(Path("a/b.onnx")).name == "b.onnx"


def test_naming_subjects_imports_nothing_heavy() -> None:
    """A command that only plans a run starts quickly."""
    code = (
        "import sys, json, latency.subjects, latency.peers, latency.engines, latency.breakdown\n"
        "print(json.dumps([name for name in ('torch', 'timm', 'onnx', 'onnxruntime') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# --- made ready


def test_a_model_is_prepared_with_the_output_of_the_original(tmp_path: Path) -> None:
    import torch

    from evim_deploy.networks.efficientvim.seeded import untrained_model
    from latency.engines import first_image
    from latency.preparation import prepare

    name = parse_model("m1")
    prepared = prepare(
        model_subject(name), ".pt", folder=tmp_path, file_precision="fp32", batch=4, height=SIDE, width=SIDE
    )
    assert prepared.shape == (3, SIDE, SIDE)
    assert prepared.weights == "untrained (seed 0)"
    assert "38 BatchNorms folded" in prepared.form
    assert prepared.expected is not None
    with torch.no_grad():
        answer = untrained_model(name, 1000, 0)(torch.from_numpy(first_image(prepared.shape)))
    np.testing.assert_array_equal(np.load(prepared.expected), answer.numpy())
    module = torch.load(prepared.source, weights_only=False)
    assert sum(each.numel() for each in module.buffers()) == prepared.parameters


def test_an_inference_form_with_another_output_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: one weight of one kernel is off by 0.1."""
    import torch

    from latency import preparation

    def perturbed(graph: object) -> torch.nn.Module:
        module = build(graph)  # type: ignore[arg-type]
        module.get_buffer("kernel_0")[0, 0, 0, 0] += 0.1
        return module

    build = preparation.graph_module
    monkeypatch.setattr(preparation, "graph_module", perturbed)
    with pytest.raises(ParityFailed, match="EfficientViM-M1 differs from the model"):
        preparation.prepare(
            model_subject(parse_model("m1")),
            ".pt",
            folder=tmp_path,
            file_precision="fp32",
            batch=1,
            height=SIDE,
            width=SIDE,
        )


def test_a_lack_of_memory_for_the_original_leaves_it_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latency import preparation

    def refuse(model: object, images: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(preparation, "run_module", refuse)
    prepared = preparation.prepare(
        mixer_subjects()[0], ".pt", folder=tmp_path, file_precision="fp32", batch=1, height=SIDE, width=SIDE
    )
    assert prepared.expected is None
    assert "needs more memory" in prepared.reference


def test_a_network_of_one_size_is_not_prepared_at_another(tmp_path: Path) -> None:
    from latency.preparation import prepare

    (peer,) = find_peers("efficientvit_m3")
    with pytest.raises(BadInput, match="supports only images of 224x224"):
        prepare(peer_subject(peer), ".pt", folder=tmp_path, file_precision="fp32", batch=1, height=SIDE, width=SIDE)


@pytest.mark.parametrize(
    "suffix", [".onnx", ".mlpackage", pytest.param(".tflite", marks=[pytest.mark.slow, needs_onnx2tf])]
)
def test_a_peers_file_of_any_engine_has_the_original_output(tmp_path: Path, suffix: str) -> None:
    from latency.preparation import prepare

    (peer,) = find_peers(tiny_timm.NAME)
    prepared = prepare(
        peer_subject(peer),
        suffix,
        folder=tmp_path,
        file_precision="fp32",
        batch=1,
        height=tiny_timm.SIDE,
        width=tiny_timm.SIDE,
    )
    path = Path(prepared.source)
    (engine, *_) = [each for each in runtimes.engines_of(suffix) if "fp32" in each.modes]
    with runtimes.open_artifact(path, engine, "fp32") as session:
        (answer,) = session.run(first_image(prepared.shape)).values()
    assert prepared.expected
    np.testing.assert_allclose(answer, np.load(prepared.expected), atol=1e-5)


def test_a_quantised_file_says_what_it_was_calibrated_on(tmp_path: Path) -> None:
    from latency.preparation import prepare

    prepared = prepare(
        model_subject(parse_model("digits")),
        ".onnx",
        folder=tmp_path,
        file_precision="dynamic",
        batch=4,
        height=SIDE,
        width=SIDE,
    )
    assert (prepared.file_precision, prepared.weights) == ("dynamic", "package:digits, trained")
    assert prepared.form.endswith("8-bit weights, values in 8 bits when it runs")
    prepared = prepare(
        model_subject(parse_model("digits")),
        ".onnx",
        folder=tmp_path,
        file_precision="int8",
        batch=4,
        height=SIDE,
        width=SIDE,
    )
    assert "8-bit weights and values, calibrated on " in prepared.form


# --- files


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported M1 with preprocessing, at a fixed and at a dynamic size."""
    folder = tmp_path_factory.mktemp("artifacts")
    common = {"weights": "random:3", "output_dir": folder, "verify": False, "num_classes": 10}
    fixed, open_ = (
        export(Request(model=parse_model("m1"), formats=("onnx",), **sizes, **common))[0]["path"]  # type: ignore[arg-type]
        for sizes in ({"sizes": ((SIDE, 96),)}, {"sizes": (None,), "batch": None})
    )
    return {"fixed": Path(fixed), "open": Path(open_)}


def test_an_artifact_has_a_shape_and_is_compared_with_its_own_model(artifacts: dict[str, Path], tmp_path: Path) -> None:
    from latency.preparation import prepare

    prepared = prepare(
        artifact_subject(artifacts["fixed"]),
        ".onnx",
        folder=tmp_path,
        file_precision="fp32",
        batch=16,
        height=0,
        width=0,
    )
    assert (prepared.shape, prepared.pixels) == ((3, SIDE, 96), True)
    assert prepared.weights == "random:3, untrained"
    assert prepared.expected is not None
    assert np.load(prepared.expected).shape == (1, 10)


def test_an_open_size_is_the_models_unless_another_is_asked_for(artifacts: dict[str, Path], tmp_path: Path) -> None:
    from latency.preparation import prepare

    subject = artifact_subject(artifacts["open"])
    assert prepare(
        subject, ".onnx", folder=tmp_path, file_precision="fp32", batch=2, height=SIDE, width=SIDE
    ).shape == (3, SIDE, SIDE)
    assert prepare(subject, ".onnx", folder=tmp_path, file_precision="fp32", batch=2, height=0, width=0).shape == (
        3,
        224,
        224,
    )


def test_the_input_that_a_file_fixes(artifacts: dict[str, Path]) -> None:
    from latency.artifacts import read_fixed_input

    found = {name: read_fixed_input(path) for name, path in artifacts.items()}
    assert found == {"fixed": FixedInput(1, (64, 96), "fp32"), "open": FixedInput(None, None, "fp32")}


def test_a_plan_respects_the_input_that_a_file_fixes(artifacts: dict[str, Path], tmp_path: Path) -> None:
    """Two files of the same name are two cases."""
    copy = tmp_path / artifacts["fixed"].name
    copy.write_bytes(artifacts["fixed"].read_bytes())

    def planned(*paths: Path, **asked: Any) -> list[tuple[int, int, int]]:
        entries = plan(BenchRequest(protocol=PROTOCOLS["robust"], artifacts=paths, **asked)).cases
        assert len({entry.id for entry in entries}) == len(entries)
        return [(entry.batch, entry.height, entry.width) for entry in entries]

    assert planned(artifacts["fixed"], copy) == [(1, 64, 96)] * 4  # in ONNX Runtime and in OpenVINO
    assert planned(artifacts["open"], engines=("onnxruntime",), sizes=((128, 128), (64, 64)), batches=(2,)) == [
        (2, 128, 128),
        (2, 64, 64),
    ]
    for asked in ({"sizes": ((128, 128),)}, {"batches": (2,)}):
        with pytest.raises(BadInput, match="Omit"):
            planned(artifacts["fixed"], **asked)


def test_a_file_is_timed_in_its_own_precision_or_its_engines(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests for other precisions do not change it."""

    def precisions(**asked: Any) -> set[tuple[str, str]]:
        entries = plan(BenchRequest(protocol=PROTOCOLS["robust"], artifacts=(artifacts["fixed"],), **asked)).cases
        return {(entry.engine.name, entry.precision) for entry in entries}

    assert precisions() == {("onnxruntime", "fp32"), ("openvino", "fp32")}
    assert precisions(precisions=("fp32", "bf16", "int8")) == {*precisions(), ("openvino", "bf16")}
    monkeypatch.setattr("latency.artifacts.read_fixed_input", lambda path: FixedInput(1, (SIDE, 96), "int8"))
    assert precisions() == precisions(precisions=("int8", "bf16")) == {("onnxruntime", "int8"), ("openvino", "int8")}
    with pytest.raises(BadInput, match=r"is int8: fp32 is left out"):
        precisions(precisions=("fp32",))


def test_a_size_that_a_file_does_not_support_is_an_error(artifacts: dict[str, Path], tmp_path: Path) -> None:
    from latency.preparation import prepare

    with pytest.raises(BadInput, match="has the width 96, not 64"):
        prepare(
            artifact_subject(artifacts["fixed"]),
            ".onnx",
            folder=tmp_path,
            file_precision="fp32",
            batch=1,
            height=SIDE,
            width=SIDE,
        )


def test_a_foreign_file_is_timed_unchecked(artifacts: dict[str, Path], tmp_path: Path) -> None:
    import onnx

    from latency.preparation import prepare

    model = onnx.load(artifacts["fixed"])
    del model.metadata_props[:]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(model, foreign)
    prepared = prepare(
        artifact_subject(foreign), ".onnx", folder=tmp_path, file_precision="fp32", batch=1, height=0, width=0
    )
    assert (prepared.expected, prepared.pixels) == (None, False)
    assert "does not say which model" in prepared.reference
    assert "unknown" in prepared.weights


def test_a_file_of_another_kind_is_an_error(artifacts: dict[str, Path], tmp_path: Path) -> None:
    from latency.preparation import prepare

    with pytest.raises(BadInput, match=r"is not a \.tflite file"):
        prepare(
            artifact_subject(artifacts["fixed"]),
            ".tflite",
            folder=tmp_path,
            file_precision="fp32",
            batch=1,
            height=0,
            width=0,
        )
