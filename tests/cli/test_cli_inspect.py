"""``evim-deploy inspect`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import assert_done, assert_refused, run
from model_files import Computed, integers, ones, options, write_tflite
from onnx import TensorProto, helper, load, save

from evim_deploy.artifact.metadata import METADATA_KEY, SCHEMA_VERSION
from evim_deploy.artifact.quantisation import Calibration, Quantisation


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution between two transposes, and a split that XNNPACK does not take."""
    first, image, wide = Computed((1, 4, 8, 8)), Computed((1, 8, 8, 4)), Computed((1, 8, 8, 6))
    halves = [Computed((1, 8, 8, 2)), Computed((1, 8, 8, 4))]
    tensors = [
        first,
        integers(0, 2, 3, 1),
        image,
        ones(6, 3, 3, 4),
        ones(6),
        wide,
        integers(2, 4),
        np.array(3, np.int32),
    ]
    nodes = [
        ("TRANSPOSE", [0, 1], [2], None),
        ("CONV_2D", [2, 3, 4], [5], options("Conv2D", strideW=1, strideH=1)),
        ("SPLIT_V", [5, 6, 7], [8, 9], options("SplitV", numSplits=2)),
    ]
    path = tmp_path_factory.mktemp("foreign") / "foreign.tflite"
    return write_tflite(path, [*tensors, *halves], nodes, [0], [8, 9])


@pytest.fixture(scope="module")
def relu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "graph", values[:1], values[1:])
    path = tmp_path_factory.mktemp("relu") / "relu.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def document(*paths: Path) -> dict[str, Any]:
    result = run("inspect", *paths, "--json")
    assert_done(result)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_people_are_told_everything_with_its_reason_and_its_source(foreign: Path) -> None:
    result = run("inspect", foreign)
    assert_done(result)
    told = result.stdout
    for expected in (
        "foreign.tflite",
        "written by a test",
        "without a manifest of evim-deploy",
        "input t0: float32 1x4x8x8",
        "output t9: float32 1x8x8x4",
        "3 operations",
        "CONV_2D 1",
        "only moves data",
        "copy",
        "weights: 0.9 KiB in 3 operations",
        "stored as float32 0.9 KiB, int32 0.0 KiB",
        "6x3x3x4",
        "TFLite GPU delegate: nothing known keeps an operation off it",
        "XNNPACK: 1 of 3 operations stay off it",
        "blocks 1: SPLIT_V",
        "XNNPACK does not support this operation.",
        "xnnpack_delegate.cc",
        "measured: runs 2 of 3 operations, in 1 partition\n",
        "does not run 1: SPLIT_V",
    ):
        assert expected in told
    assert "\x1b[" not in told  # no colours where no terminal is


def test_machines_are_told_the_same(foreign: Path) -> None:
    found = document(foreign)
    assert found["schema_version"] == SCHEMA_VERSION
    (artifact,) = found["artifacts"]
    (function,) = artifact["functions"]
    assert (artifact["path"], artifact["format"], artifact["bytes"]) == (str(foreign), "tflite", foreign.stat().st_size)
    assert artifact["made_by_evim_deploy"] is False
    assert artifact["inputs"] == [{"name": "t0", "dtype": "float32", "shape": [1, 4, 8, 8]}]
    assert function["operations"] == {
        "convolution": {"CONV_2D": 1},
        "data movement": {"TRANSPOSE": 1, "SPLIT_V": 1},
    }
    assert [move["type"] for move in function["movements"]] == ["TRANSPOSE", "SPLIT_V"]
    assert function["layers"][0] == {
        "operation": "t5",
        "type": "CONV_2D",
        "shapes": [[6, 3, 3, 4], [6]],
        "bytes": 4 * (6 * 3 * 3 * 4 + 6),
    }
    assert function["weight_types"] == {"float32": 4 * (6 * 3 * 3 * 4 + 6), "int32": 4 * (4 + 2 + 1)}
    gpu, xnnpack = function["targets"]
    assert (gpu["target"], gpu["operations"], gpu["kept_off"]) == ("tflite_gpu", 3, 0)
    assert (xnnpack["target"], xnnpack["kept_off"]) == ("xnnpack", 1)
    (finding,) = xnnpack["findings"]
    assert {"rule", "severity", "operation", "type", "detail", "reason", "source"} == set(finding)
    assert (finding["severity"], finding["type"], finding["operation"]) == ("blocks", "SPLIT_V", "t8")
    assert artifact["xnnpack"] == {"operations": 3, "partitions": 1, "outside": ["SPLIT_V"]}


QUANTISATION = Quantisation(
    calibration=Calibration("a folder of cats", 12),
    sensitivity=(("stem", 21.4), ("head", 40.0)),
    float_layers=("stem",),
    allowed_loss=0.5,
    loss=0.25,
)


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (
            {"format": "onnx", "precision": "int8", "quantisation": QUANTISATION.to_dict()},
            (
                "int8: 8-bit weights and values",
                "calibrated on 12 images: a folder of cats",
                "stem 21 dB, head 40 dB",
                "1 of 2 layers kept in floating point (stem): 0.25 % of the predictions on calibration images",
            ),
        ),
        ({"format": "onnx", "precision": "fp32", "quantisation": None}, ()),
        ({"format": "onnx", "precision": "int8", "quantisation": {"calibration": 7}}, ()),
        ({"format": "onnx", "precision": "int3", "quantisation": QUANTISATION.to_dict()}, ()),
        ({"quantisation": "int8"}, ()),
    ],
)
def test_how_a_file_was_quantised_is_told(
    relu: Path, tmp_path: Path, manifest: dict[str, Any], told: tuple[str, ...]
) -> None:
    """What its manifest says; where that cannot be read, which need not be ours, nothing."""
    model = load(relu)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(manifest)})
    path = tmp_path / "quantised.onnx"
    save(model, path)
    result = run("inspect", path)
    assert_done(result)
    assert all(each in result.stdout for each in told)
    assert ("signal to noise" in result.stdout) == bool(told)


def test_what_litert_does_not_load_is_not_measured(tmp_path: Path) -> None:
    """And everything else is told all the same."""
    values = [Computed((1, 8)), Computed((1, 8))]
    path = write_tflite(tmp_path / "custom.tflite", values, [("CUSTOM:Mystery", [0], [1], None)], [0], [1])
    result = run("inspect", path)
    assert_done(result)
    assert "measured: not run on this host." in result.stdout
    assert "LiteRT does not load " in result.stdout
    assert ": Encountered unresolved custom op: Mystery" in result.stdout
    (artifact,) = document(path)["artifacts"]
    assert artifact["functions"][0]["operations"] == {"other": {"CUSTOM": 1}}
    assert "Mystery" in artifact["xnnpack"]["not_run_on_this_host"]


def test_several_files_of_several_formats_go_in_one_call(foreign: Path, relu: Path) -> None:
    artifacts = document(foreign, relu)["artifacts"]
    assert [artifact["format"] for artifact in artifacts] == ["tflite", "onnx"]
    assert artifacts[1]["xnnpack"] is None
    result = run("inspect", relu, foreign)
    assert_done(result)
    assert result.stdout.index("relu.onnx") < result.stdout.index("foreign.tflite")


def test_what_is_told_of_a_network_fits_a_screen_and_a_half(foreign: Path) -> None:
    result = run("inspect", foreign)
    assert len(result.stdout.splitlines()) <= 75


def test_a_damaged_file_is_refused_as_bad_input(foreign: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(foreign.read_bytes()[:200])
    assert_refused(run("inspect", path), 3, "cut.tflite is damaged")


def test_one_bad_file_of_several_is_named(relu: Path, tmp_path: Path) -> None:
    """And the others are shown all the same."""
    missing = tmp_path / "missing.onnx"
    result = run("inspect", missing, relu)
    assert result.returncode == 3
    assert "missing.onnx" in result.stderr
    assert "relu.onnx" in result.stdout

    result = run("inspect", missing, relu, "--json")
    assert result.returncode == 3
    first, second = json.loads(result.stdout)["artifacts"]
    assert (first["path"], first["error"]["exit_code"], second["path"]) == (str(missing), 3, str(relu))


def test_a_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.touch()
    assert_refused(run("inspect", path), 3, ".onnx, .tflite, .mlpackage, .mlmodel")


def test_no_file_is_a_usage_error() -> None:
    assert run("inspect").returncode == 2
