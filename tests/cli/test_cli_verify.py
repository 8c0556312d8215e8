"""``evim-deploy verify`` through the command line: its output and exit codes."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from command import (
    SCHEMA_VERSION,
    UNTRAINED,
    Exported,
    assert_done,
    assert_refused,
    exported,
    left_in,
    photographs,
    run,
    run_program,
)
from onnx import numpy_helper
from PIL import Image

ONNX = ("m1", "-f", "onnx", "-p", "fp32", "-p", "fp16", "-r", "64", "-w", "random:0", "--num-classes", "20")
COREML = ("m1", "-f", "coreml", "-r", "64", "-w", "random:0", "--num-classes", "20")

on_linux = pytest.mark.skipif(platform.system() == "Darwin", reason="this host has Core ML")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def single(base: Path) -> Path:
    return Path(exported(base, *ONNX).artifacts[0]["path"])


@pytest.fixture(scope="session")
def half(base: Path) -> Path:
    return Path(exported(base, *ONNX).artifacts[1]["path"])


@pytest.fixture(scope="session")
def package(base: Path) -> Path:
    made: Exported = exported(base, *COREML)
    return made.path("coreml")


@pytest.fixture
def changed(single: Path, tmp_path: Path) -> Path:
    """A copy with one changed weight."""
    model = onnx.load(single)
    (tensor,) = [each for each in model.graph.initializer if each.name == "stages.1.blocks.0.ffn.fc1.conv.kernel"]
    kernel = numpy_helper.to_array(tensor).copy()
    kernel.flat[0] += 3 * kernel.std()
    tensor.CopyFrom(numpy_helper.from_array(kernel, tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


@pytest.fixture
def unknown(package: Path, tmp_path: Path) -> Path:
    """A copy with an unknown operation."""
    from coremltools.proto import Model_pb2

    path = shutil.copytree(package, tmp_path / "unknown.mlpackage")
    spec_path = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = Model_pb2.Model.FromString(spec_path.read_bytes())
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    next(operation for operation in operations if operation.type == "relu").type = "frobnicate"
    spec_path.write_bytes(spec.SerializeToString())
    return path


def documents(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The JSON entry of each artifact; the document is all of stdout."""
    document = json.loads(result.stdout)
    assert document.keys() == {"schema_version", "artifacts"}
    assert document["schema_version"] == SCHEMA_VERSION
    actual: list[dict[str, Any]] = document["artifacts"]
    return actual


def assert_ends(result: subprocess.CompletedProcess[str], code: int, *fragments: str) -> None:
    """Check the exit code, and that stderr has one error with cause and remedy for each unproven artifact."""
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    errors = [index for index, line in enumerate(lines) if line.startswith("Error: ")]
    assert errors
    assert all(lines[index + 1].strip() and not lines[index + 1].startswith("Error: ") for index in errors)
    assert errors[-1] == len(lines) - 2
    said = "\n".join(lines[errors[0] :])
    assert "fault in evim-deploy" not in said
    for fragment in fragments:
        assert fragment in said


# --- what is proven --------------------------------------------------------------------------------------


def test_for_people(half: Path, tmp_path: Path) -> None:
    shutil.copy(half, tmp_path)  # without its manifest
    copy = tmp_path / half.name
    result = run("verify", copy)
    assert_done(result)
    lines = result.stdout.splitlines()
    assert lines[0] == str(copy)
    assert "efficientvim_m1, onnx fp16 64x64, made from random:0, sha256 " in lines[1]
    for expected in (
        "parity PASS",
        "detects a 1 % weight perturbation in 8",
        "of 84 layers",
        "over 12 inputs: astronaut, cat, coffee, rocket, noise 0, noise 1, black,",
        "rewrites  ",
        "program  ",
        "precision  ",
        "onnxruntime fp32",
        "onnxruntime fp16",
        "rounded network",
        "in units of the range",
    ):
        assert expected in result.stdout
    assert UNTRAINED in lines[-1]
    for step in (f"{half.name}: reading", "loading the weights random:0", "comparing with PyTorch"):
        assert step in result.stderr
    assert left_in(tmp_path) == [half.name]


def test_quiet_says_nothing_but_the_result(single: Path) -> None:
    result = run("verify", single, "--quiet")
    assert_done(result)
    assert result.stderr == ""
    assert "parity PASS" in result.stdout


def test_as_json(single: Path, half: Path) -> None:
    result = run("verify", single, half, "--json", "--quiet")
    assert_done(result)
    assert result.stderr == ""
    actual = documents(result)
    assert [entry["path"] for entry in actual] == [str(single), str(half)]
    for entry, precision in zip(actual, ("fp32", "fp16"), strict=True):
        assert entry.keys() == {
            "path",
            "format",
            "precision",
            "model",
            "task",
            "output",
            "resolution",
            "batch",
            "preprocess",
            "weights",
            "parity",
            "functions",
        }
        assert (entry["format"], entry["precision"], entry["model"]) == ("onnx", precision, "efficientvim_m1")
        assert entry["weights"]["source"] == "random:0"
        assert entry["parity"]["status"] == "pass"
        assert entry["parity"]["power"]["layers"] == 84
    subjects = [[each["subject"] for each in entry["parity"]["comparisons"]] for entry in actual]
    assert subjects == [["program"], ["rewrites", "program", "precision"]]


@on_linux
@pytest.mark.parametrize("mode", ["fp32", "fp16", "ane"])
def test_a_package_in_each_mode(package: Path, mode: str) -> None:
    result = run("verify", package, "--mode", mode, "--json", "--quiet")
    assert_done(result)
    (entry,) = documents(result)
    assert entry["parity"]["status"] == "pass"
    modes = [(each["subject"], each["mode"]) for each in entry["parity"]["comparisons"]]
    assert modes[:2] == [("rewrites", "fp32"), ("program", "fp32")]
    assert modes[2:] == ([] if mode == "fp32" else [("precision", mode)])


def test_pictures_of_ones_own(single: Path, tmp_path: Path) -> None:
    shutil.copy(photographs()[0], tmp_path)
    Image.new("RGB", (50, 70), (1, 2, 3)).save(tmp_path / "night.png")
    result = run("verify", single, "--inputs", tmp_path, "--json")
    assert_done(result)
    (entry,) = documents(result)
    assert entry["parity"]["comparisons"][0]["inputs"][12:] == ["china.jpg", "night.png"]


# --- what is not -----------------------------------------------------------------------------------------


def test_a_changed_weight_ends_in_5(changed: Path) -> None:
    result = run("verify", changed)
    assert_ends(result, 5, str(changed), "program (onnxruntime, fp32) differs from PyTorch by ", "--layers")
    assert "parity FAIL" in result.stdout
    (entry,) = documents(run("verify", changed, "--json"))
    assert entry["parity"]["status"] == "fail"
    assert entry["parity"]["comparisons"][0]["status"] == "fail"
    assert (entry["error"]["exit_code"], entry["error"].keys()) == (5, {"exit_code", "cause", "remedy"})


def test_an_artifact_changed_since_its_export_ends_in_5(single: Path, tmp_path: Path) -> None:
    copy = tmp_path / single.name
    model = onnx.load(single)
    model.doc_string = "another description"
    onnx.save(model, copy)
    shutil.copy(f"{single}.json", tmp_path)
    assert_ends(run("verify", copy), 5, "other bytes than were exported", "sha256")
    Path(f"{copy}.json").unlink()
    assert_done(run("verify", copy))


def test_a_damaged_manifest_beside_ends_in_3(single: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(single, tmp_path))
    Path(f"{copy}.json").write_text("{")
    assert_ends(run("verify", copy, "--json"), 3, f"{copy}.json is damaged", "Remove it")


@on_linux
def test_an_unknown_operation_ends_in_6(unknown: Path) -> None:
    result = run("verify", unknown)
    assert_ends(result, 6, str(unknown), "frobnicate")
    assert "parity not run: " in result.stdout
    assert "PASS" not in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mode", "ane"), "does not compute in mode ane"),
        (("--compute-units", "cpuOnly"), "does not compute in mode cpuOnly"),
    ],
)
def test_a_mode_that_the_engine_lacks_ends_in_6(single: Path, options: tuple[str, str], said: str) -> None:
    result = run("verify", single, *options, "--json")
    assert_ends(result, 6, said)
    (entry,) = documents(result)
    assert entry["parity"]["status"] == "not_run"
    assert entry["error"]["exit_code"] == 6


@on_linux
def test_compute_units_off_a_mac_end_in_6(package: Path) -> None:
    assert_ends(run("verify", package, "--compute-units", "cpuAndNeuralEngine"), 6, "macOS")


def test_several_artifacts_end_in_the_worst_code_and_each_is_reported(
    single: Path, half: Path, changed: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(b"no model")
    missing = tmp_path / "missing.onnx"
    everything = (single, missing, changed, foreign, half)
    result = run("verify", *everything, "--json", "--quiet")
    assert_ends(result, 5, str(missing), str(changed), str(foreign))
    assert result.stderr.count("Error: ") == 3
    actual = documents(result)
    assert [entry["path"] for entry in actual] == list(map(str, everything))
    assert [entry.get("error", {}).get("exit_code") for entry in actual] == [None, 3, 5, 3, None]
    assert [entry.get("parity", {}).get("status") for entry in actual] == ["pass", None, "fail", None, "pass"]

    people = run("verify", *everything[:4], "--quiet")
    assert_ends(people, 5)
    assert [line for line in people.stdout.splitlines() if line.startswith("/")] == [str(single), str(changed)]


def test_bad_input_is_worse_than_a_check_that_cannot_run(single: Path, tmp_path: Path) -> None:
    """Two artifacts, each with an exit code of its own."""
    result = run("verify", single, tmp_path / "missing.onnx", "--mode", "ane", "--json")
    assert_ends(result, 3, "missing.onnx", "does not compute in mode ane")
    assert [entry["error"]["exit_code"] for entry in documents(result)] == [6, 3]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (("--weights", "random:1"), ("was not made from random:1", "sha256", "--weights")),
        (("-w", "none.pth"), ("cannot be opened", "none.pth", "--weights")),
        (("--weights", "random:x"), ("cannot be opened", "Invalid seed 'x'")),
        (("--inputs", "nowhere"), ("nowhere", "--inputs")),
    ],
)
def test_unusable_options_end_in_3(single: Path, options: tuple[str, str], fragments: tuple[str, ...]) -> None:
    assert_ends(run("verify", single, *options), 3, *fragments)


# --- usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ((), "ARTIFACT"),
        (("a.onnx", "--mode", "int8"), "int8"),
        (("a.onnx", "--compute-units", "gpu"), "gpu"),
        (("a.onnx", "--fast"), "--fast"),
        (("a.mlpackage", "--mode", "ane", "--compute-units", "all"), "--compute-units"),
        (("a.onnx", "--weights"), "--weights"),
    ],
)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_usage_ends_in_2(line: tuple[str, ...], fragment: str, as_json: tuple[str, ...]) -> None:
    assert_refused(run("verify", *as_json, *line), 2, fragment)


def test_help_names_every_option() -> None:
    said = " ".join(run_program("verify", "--help", env={"COLUMNS": "200"}).stdout.split())
    options = "weights inputs mode compute-units layers output-dir overwrite json quiet verbose"
    for option in options.split():
        assert f"--{option}" in said
    for choice in ("fp32", "fp16", "ane", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine"):
        assert choice in said


# --- what is not installed -------------------------------------------------------------------------------


@pytest.fixture
def without(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment in which a package is not installed."""

    def hide(package: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
        return {"PYTHONPATH": str(tmp_path)}

    return hide


@pytest.mark.parametrize(
    ("name", "extra"), [("onnxruntime", "onnx"), ("onnx", "onnx"), ("torch", "torch"), ("safetensors", "torch")]
)
def test_a_missing_package_ends_in_4(
    single: Path, without: Callable[[str], dict[str, str]], name: str, extra: str
) -> None:
    result = run_program("verify", single, "--json", env=without(name))
    assert_ends(result, 4, name, f'pip install "evim-deploy[{extra}]"')
    (entry,) = documents(result)
    assert entry["error"]["exit_code"] == 4
