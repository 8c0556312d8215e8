"""Wrong input to the command line: one message, its exit code, and no partial files."""

from __future__ import annotations

import os
import pickle
import platform
import random
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from command import (
    DEFAULTS,
    FEATURES,
    Exported,
    assert_done,
    assert_refused,
    exported,
    interrupt,
    left_in,
    photographs,
    run,
    run_program,
)
from onnx import TensorProto, helper
from PIL import Image

from evim_deploy.catalog.variants import parse_model
from evim_deploy.networks.efficientvim.seeded import untrained_model

CLASSES = 3
INTERRUPTED = 130
ONNX = ("export", "m1", "-f", "onnx", "-r", "64")
UNTRAINED_ONNX = (*ONNX, "-w", "random", "--quiet")

State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def state() -> State:
    return dict(untrained_model(parse_model("m1"), CLASSES, 0).state_dict())


@pytest.fixture(scope="session")
def checkpoint(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An intact checkpoint of m1."""
    path = tmp_path_factory.mktemp("checkpoint") / "m1.pth"
    torch.save({"model": state}, path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


class Hostile:
    """An object that creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def truncated(path: Path, intact: bytes, state: State) -> None:
    path.write_bytes(intact[: len(intact) // 2])


def bit_flipped(path: Path, intact: bytes, state: State) -> None:
    at = len(intact) // 2
    path.write_bytes(intact[:at] + bytes([intact[at] ^ 0x10]) + intact[at + 1 :])


def a_picture(path: Path, intact: bytes, state: State) -> None:
    Image.new("RGB", (8, 8)).save(path, format="PNG")


def a_directory(path: Path, intact: bytes, state: State) -> None:
    path.mkdir()


def with_nan(path: Path, intact: bytes, state: State) -> None:
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["heads.0.weight"][0, 0] = float("nan")
    torch.save(broken, path)


def without_a_tensor(path: Path, intact: bytes, state: State) -> None:
    torch.save({name: tensor for name, tensor in state.items() if name != "heads.2.bias"}, path)


class TestCheckpoint:
    @pytest.mark.parametrize(
        ("make", "fragments"),
        [
            (lambda path, intact, state: None, ["No such file"]),
            (a_directory, ["no file of weights"]),
            (lambda path, intact, state: path.write_bytes(b""), ["is empty"]),
            (lambda path, intact, state: path.write_bytes(random.Random(0).randbytes(9999)), ["is of a kind"]),
            (truncated, []),
            (bit_flipped, ["damaged"]),
            (a_picture, ["is of a kind"]),
            (with_nan, ["NaN", "heads.0.weight"]),
            (without_a_tensor, ["1 missing", "heads.2.bias"]),
        ],
        ids=["missing", "directory", "empty", "random bytes", "truncated", "bit-flipped", "png", "nan", "incomplete"],
    )
    def test_that_is_none(
        self,
        checkpoint: Path,
        state: State,
        tmp_path: Path,
        out: Path,
        make: Callable[[Path, bytes, State], object],
        fragments: list[str],
    ) -> None:
        path = tmp_path / "weights.pth"
        make(path, checkpoint.read_bytes(), state)
        result = run(*ONNX, "-w", path, "-o", out, "--json")
        assert_refused(result, 3, str(path), *fragments)
        assert left_in(out) == []

    @pytest.mark.parametrize(
        ("model", "options", "fragments"),
        [
            ("m2", (), ["holds efficientvim_m1, not efficientvim_m2", "Use m1"]),
            ("m1_dist", (), ["holds efficientvim_m1, not efficientvim_m1_dist", "Use m1"]),
            ("m1", ("--num-classes", "5"), ["has 3 classes, not 5"]),
        ],
    )
    def test_of_something_else(
        self, checkpoint: Path, out: Path, model: str, options: tuple[str, ...], fragments: list[str]
    ) -> None:
        result = run("export", model, "-f", "onnx", "-w", checkpoint, *options, "-o", out)
        assert_refused(result, 3, *fragments)
        assert left_in(out) == []

    @pytest.mark.parametrize("zipped", [True, False])
    def test_that_runs_code_is_refused_and_runs_none(self, tmp_path: Path, out: Path, zipped: bool) -> None:
        marker, path = tmp_path / "marker", tmp_path / "weights.pth"
        content = {"model": Hostile(marker)}
        if zipped:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content, protocol=2))
        torch.load(path, weights_only=False) if zipped else pickle.loads(path.read_bytes())
        assert marker.exists()  # it is hostile indeed
        marker.unlink()
        assert_refused(run(*ONNX, "-w", path, "-o", out), 3, str(path))
        assert not marker.exists()
        assert left_in(out) == []

    def test_with_code_beside_its_weights_loads_and_runs_none(self, state: State, tmp_path: Path, out: Path) -> None:
        marker, path = tmp_path / "marker", tmp_path / "weights.pth"
        torch.save({"model": state, "config": Hostile(marker)}, path)
        assert_done(run(*ONNX, "-w", path, "-o", out, "--no-verify"))
        assert not marker.exists()
        assert len(left_in(out)) == 2

    def test_that_is_only_named_wrongly_loads(self, state: State, tmp_path: Path, out: Path) -> None:
        path = tmp_path / "weights.pth"
        safetensors.torch.save_file(state, path)
        assert_done(run(*ONNX, "-w", path, "-o", out, "--no-verify"))
        assert len(left_in(out)) == 2

    @pytest.mark.parametrize("spec", ["random:x", "random:-1", "random:99999999999", "hf:alone", "timm:"])
    def test_that_cannot_be_meant(self, out: Path, spec: str) -> None:
        assert_refused(run(*ONNX, "-w", spec, "-o", out), 3, spec.partition(":")[0])
        assert left_in(out) == []

    @pytest.mark.parametrize("spec", ["hf:some/repo", "timm:efficientvim_m1"])
    def test_that_the_hub_has_and_cannot_give(self, out: Path, spec: str) -> None:
        """Weights that the user names are not replaced by untrained ones."""
        assert_refused(run(*ONNX, "-w", spec, "-o", out), 3, "cannot be reached")
        assert left_in(out) == []


class TestLabels:
    @pytest.mark.parametrize(
        ("content", "fragments"),
        [
            (None, ["There is no label file"]),
            ("cat\ndog\n", ["names 2 classes", "has 3"]),
            ("cat\ndog\ncat\n", ["'cat'", "unique"]),
            ('["cat", "dog",', ["not valid JSON"]),
            (b"\xff\xfe\x00\xd8", ["cannot be read as text"]),
        ],
    )
    def test_that_do_not_fit(
        self, tmp_path: Path, out: Path, content: str | bytes | None, fragments: list[str]
    ) -> None:
        labels = tmp_path / "labels"
        if content is not None:
            labels.write_bytes(content if isinstance(content, bytes) else content.encode())
        result = run(*UNTRAINED_ONNX, "--num-classes", str(CLASSES), "--labels", labels, "-o", out)
        assert_refused(result, 3, str(labels), *fragments)
        assert left_in(out) == []


class TestOptions:
    """All of these are refused before a heavy package is imported."""

    @pytest.mark.parametrize(
        ("code", "options", "fragments"),
        [
            (3, ("-r", "0"), ["0x0", "32 to 4096"]),
            (3, ("-r", "-1"), ["-1x-1", "32 to 4096"]),
            (3, ("-r", "7"), ["7x7"]),
            (3, ("-r", "5000"), ["5000x5000"]),
            (3, ("-r", "224x31"), ["224x31"]),
            (3, ("-r", "224", "-r", "0"), ["0x0"]),
            (2, ("-r", "100000000000"), ["'100000000000'"]),
            (2, ("-r", "abc"), ["'abc'"]),
            (2, ("-r", "64x"), ["'64x'"]),
            (2, ("-r", "64x64x64"), ["'64x64x64'"]),
            (2, ("-r", "\u0666\u0664\u066c"), ["Invalid resolution"]),
            (2, ("-r", ""), ["''"]),
            (3, ("-b", "0"), ["1 to", "got 0"]),
            (3, ("-b", "-3"), ["1 to", "got -3"]),
            (2, ("-b", "x"), ["Invalid batch 'x'"]),
            (2, ("-b", "1.5"), ["'1.5'"]),
            (2, ("-f", "pdf"), ["'pdf'", "coreml, ios, mlpackage, onnx, tflite, litert"]),
            (2, ("-p", "fp64"), ["fp64", "fp32"]),
            (2, ("--task", "segment"), ["segment", "features"]),
            (2, ("--output", "top1"), ["top1", "logits"]),
            (2, ("--num-classes", "x"), ["--num-classes"]),
            (3, ("--num-classes", "0"), ["num_classes must be at least 2, got 0"]),
            (3, ("--num-classes", "1"), ["num_classes must be at least 2, got 1"]),
            (2, ("--no-such-option",), ["--no-such-option"]),
            (2, ("-b",), ["-b"]),
            (2, ("m2",), ["m2"]),
            (3, ("--task", "features", "--output", "logits"), ["--output"]),
            (3, ("--task", "features", "--labels", "x"), ["--labels"]),
            (3, ("-f", "coreml", "-b", "dynamic"), ["coreml does not support a dynamic", "--format onnx"]),
            (3, ("-f", "tflite", "-b", "dynamic"), ["tflite does not support a dynamic", "--format onnx"]),
            (3, ("-f", "coreml", "-r", "dynamic"), ["coreml does not support a dynamic", "-r 224"]),
            (3, ("-f", "onnx", "-f", "tflite", "-r", "dynamic"), ["tflite does not support a dynamic"]),
        ],
    )
    def test_that_cannot_be_met(self, out: Path, code: int, options: tuple[str, ...], fragments: list[str]) -> None:
        result = run("export", "m1", "-o", out, "--json", *options)
        assert_refused(result, code, *fragments)
        assert "Loading" not in result.stderr
        assert left_in(out) == []

    @pytest.mark.parametrize("json", [(), ("--json",)])
    @pytest.mark.parametrize(
        ("line", "fragment"),
        [
            (("export", "m9"), "'m9'"),
            (("export", ""), "''"),
            (("export",), "MODEL"),
            (("predict",), "ARTIFACT"),
            (("predict", "model.onnx"), "IMAGE"),
            (("evaluate",), "ARTIFACT... DATA"),
            (("evaluate", "model.onnx"), "data is missing"),
            (("evaluate", "model.onnx", "digits", "--classes", "guessed"), "'guessed'"),
            (("models", "m1"), "m1"),
            (("doctor", "--fast"), "--fast"),
            (("exprot", "m1"), "exprot"),
        ],
    )
    def test_usage_of_every_command(self, line: tuple[str, ...], fragment: str, json: tuple[str, ...]) -> None:
        assert_refused(run(*line, *json), 2, fragment)

    def test_no_command(self) -> None:
        result = run()
        assert result.returncode == 2
        assert "export" in result.stdout
        assert result.stderr.startswith("Error: ")


def full_disk(size: int) -> Callable[[], None]:
    """Set a limit on the size of files, in place of a small disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "evim-small-disk", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A directory that cannot be written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("nothing is read-only for this user")
    yield folder
    folder.chmod(0o700)


SLOW_FORMATS = [
    "onnx",
    pytest.param("coreml", marks=pytest.mark.slow),
    pytest.param("tflite", marks=pytest.mark.slow),
]


class TestOutputDirectory:
    @pytest.mark.parametrize("below", ["", "/below"])
    def test_that_is_a_file(self, tmp_path: Path, below: str) -> None:
        taken = tmp_path / "file"
        taken.write_text("mine")
        assert_refused(run(*UNTRAINED_ONNX, "-o", f"{taken}{below}"), 3, "not a directory", "-o")
        assert taken.read_text() == "mine"
        assert left_in(tmp_path) == ["file"]

    @pytest.mark.skipif(platform.system() != "Linux", reason="there is no /proc")
    def test_that_cannot_be_made(self) -> None:
        assert_refused(run(*UNTRAINED_ONNX, "-o", "/proc/nothing"), 3, "/proc/nothing", "-o")

    def test_that_is_read_only(self, locked: Path) -> None:
        assert_refused(run(*UNTRAINED_ONNX, "-o", locked), 3, str(locked), "permissions")

    @pytest.mark.parametrize("format_", SLOW_FORMATS)
    def test_on_a_full_disk(self, small_disk: Path, format_: str) -> None:
        line = ("export", "m1", "-f", format_, "-r", "64", "-w", "random")
        assert_refused(run(*line, "-o", small_disk), 3, str(small_disk), "is full", "Free some space")
        assert left_in(small_disk) == []

    @pytest.mark.slow
    def test_where_temporary_files_have_no_room(self, small_disk: Path, out: Path) -> None:
        """coremltools writes a package to the temporary directory first."""
        line = ("export", "m1", "-f", "coreml", "-r", "64", "-w", "random")
        result = run_program(*line, "-o", out, env={"TMPDIR": str(small_disk)})
        assert_refused(result, 3, str(small_disk), "is full", "Free some space")
        assert left_in(out) == []

    @pytest.mark.parametrize("format_", ["onnx", pytest.param("tflite", marks=pytest.mark.exhaustive)])
    def test_where_the_file_may_not_be_so_large(self, out: Path, format_: str) -> None:
        line = ("export", "m1", "-f", format_, "-r", "64", "-w", "random")
        assert_refused(run_program(*line, "-o", out, preexec_fn=full_disk(1 << 20)), 3)
        assert left_in(out) == []


@pytest.fixture
def without(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment in which a package is not installed."""

    def hide(package: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
        return {"PYTHONPATH": str(tmp_path)}

    return hide


class TestMissingPackage:
    @pytest.mark.parametrize(
        ("format_", "package", "extra"),
        [("coreml", "coremltools", "coreml"), ("onnx", "onnx", "onnx"), ("tflite", "tensorflow", "tflite")],
    )
    def test_of_an_exporter(
        self, out: Path, without: Callable[[str], dict[str, str]], format_: str, package: str, extra: str
    ) -> None:
        result = run_program("export", "m1", "-f", format_, "-o", out, "--json", env=without(package))
        assert_refused(result, 4, package, f'pip install "evim-deploy[{extra}]"')
        assert "Loading" not in result.stderr  # it is known before any work is done
        assert left_in(out) == []

    @pytest.mark.parametrize("package", ["torch", "safetensors"])
    def test_of_the_weights(self, out: Path, without: Callable[[str], dict[str, str]], package: str) -> None:
        result = run_program(*UNTRAINED_ONNX, "-o", out, env=without(package))
        assert_refused(result, 4, package, 'pip install "evim-deploy[torch]"')
        assert left_in(out) == []

    @pytest.mark.parametrize(
        ("format_", "package", "named", "extra"),
        [("onnx", "onnxruntime", "onnxruntime", "onnx"), ("tflite", "ai_edge_litert", "ai-edge-litert", "tflite")],
    )
    def test_of_an_engine(
        self,
        defaults: Exported,
        without: Callable[[str], dict[str, str]],
        format_: str,
        package: str,
        named: str,
        extra: str,
    ) -> None:
        result = run_program("predict", defaults.path(format_), photographs()[0], env=without(package))
        assert_refused(result, 4, named, f'pip install "evim-deploy[{extra}]"')

    def test_of_an_engine_is_reported_before_any_work_if_a_check_is_required(
        self, out: Path, without: Callable[[str], dict[str, str]]
    ) -> None:
        result = run_program(*UNTRAINED_ONNX, "--verify", "-o", out, env=without("onnxruntime"))
        assert_refused(result, 4, "onnxruntime", 'pip install "evim-deploy[onnx]"')
        assert "Loading" not in result.stderr
        assert left_in(out) == []

    def test_of_an_engine_leaves_the_export_unchecked(
        self, out: Path, without: Callable[[str], dict[str, str]]
    ) -> None:
        result = run_program(*UNTRAINED_ONNX, "-o", out, env=without("onnxruntime"))
        assert_done(result)
        assert "parity not run: onnxruntime is not installed" in result.stdout

    def test_is_what_doctor_is_for(self, without: Callable[[str], dict[str, str]]) -> None:
        result = run_program("doctor", env=without("coremltools"))
        assert_done(result)
        assert 'needs coremltools: pip install "evim-deploy[coreml]"' in result.stdout


class TestInterruption:
    @pytest.mark.parametrize(
        ("format_", "at", "by"),
        [
            ("onnx", "Loading weights", signal.SIGINT),
            ("onnx", "Loading weights", signal.SIGTERM),
            ("onnx", "writing", signal.SIGINT),
            ("onnx", "writing", signal.SIGTERM),
            ("onnx", "comparing", signal.SIGINT),
            ("onnx", "comparing", signal.SIGTERM),
            pytest.param("coreml", "writing", signal.SIGINT, marks=pytest.mark.slow),
            pytest.param("coreml", "writing", signal.SIGTERM, marks=pytest.mark.exhaustive),
            pytest.param("tflite", "writing", signal.SIGINT, marks=pytest.mark.exhaustive),
            pytest.param("tflite", "writing", signal.SIGTERM, marks=pytest.mark.exhaustive),
            pytest.param("tflite", "comparing", signal.SIGINT, marks=pytest.mark.exhaustive),
            pytest.param("tflite", "comparing", signal.SIGTERM, marks=pytest.mark.slow),
        ],
        ids=lambda value: value.name if isinstance(value, signal.Signals) else None,
    )
    def test_leaves_nothing(self, out: Path, format_: str, at: str, by: signal.Signals) -> None:
        line = ("export", "m1", "-f", format_, "-r", "64", "-w", "random", "-o", out)
        result = interrupt(*line, at=at, by=by)
        assert result.returncode == INTERRUPTED, result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Interrupted")
        assert left_in(out) == []


@pytest.fixture(scope="session")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(tmp_path_factory.getbasetemp(), *DEFAULTS)


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(tmp_path_factory.getbasetemp(), *FEATURES)


def foreign_onnx() -> bytes:
    """A valid file of another tool: the inputs and outputs of ours, without a manifest."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 64, 64])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["logits"])], "theirs", [image], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


class TestArtifact:
    @pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
    @pytest.mark.parametrize("kind", ["empty", "text", "random bytes", "one byte", "directory"])
    def test_that_is_none(self, tmp_path: Path, suffix: str, kind: str) -> None:
        path = tmp_path / f"model{suffix}"
        contents = {
            "empty": b"",
            "text": b"hello\n",
            "random bytes": random.Random(1).randbytes(4096),
            "one byte": b"x",
        }
        if kind == "directory":
            path.mkdir()
        else:
            path.write_bytes(contents[kind])
        assert_refused(run("predict", path, photographs()[0], "--json"), 3, str(path))

    @pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
    @pytest.mark.parametrize("format_", ["onnx", "tflite"])
    def test_that_is_truncated(self, defaults: Exported, tmp_path: Path, format_: str, kept: float) -> None:
        content = defaults.path(format_).read_bytes()
        path = tmp_path / defaults.path(format_).name
        path.write_bytes(content[: int(len(content) * kept)])
        assert_refused(run("predict", path, photographs()[0]), 3, str(path))

    @pytest.mark.parametrize("content", [b"", b"TFL3", b"\0\0\0\0TFL3" + b"\xff" * 64, b"\x1c\0\0\0TFL3" + b"\0" * 64])
    def test_that_begins_like_tflite(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        assert_refused(run("predict", path, photographs()[0]), 3, str(path))

    def test_of_someone_else(self, tmp_path: Path) -> None:
        path = tmp_path / "theirs.onnx"
        path.write_bytes(foreign_onnx())
        assert_refused(run("predict", path, photographs()[0]), 3, "was not made by evim-deploy", "evim-deploy export")

    @pytest.mark.parametrize(
        ("metadata", "fragment"),
        [
            ({"evim_deploy.manifest": "{"}, "its metadata cannot be read"),
            ({"evim_deploy.manifest": "[]", "evim_deploy.labels": "[]"}, "its metadata cannot be read"),
            ({"evim_deploy.manifest": '{"schema_version": 99}', "evim_deploy.labels": "[]"}, "version 99"),
        ],
    )
    def test_with_metadata_that_is_not_ours(self, tmp_path: Path, metadata: dict[str, str], fragment: str) -> None:
        model = onnx.load_from_string(foreign_onnx())
        helper.set_model_props(model, metadata)
        path = tmp_path / "odd.onnx"
        onnx.save(model, path)
        assert_refused(run("predict", path, photographs()[0]), 3, fragment)

    def test_of_features(self, features: Exported) -> None:
        result = run("predict", features.path("onnx"), photographs()[0])
        assert_refused(result, 3, "dense features", "--task classify")

    @pytest.mark.parametrize("name", ["model.pb", "model", "model.onnx.json"])
    def test_of_an_unknown_kind(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"x")
        assert_refused(run("predict", tmp_path / name, photographs()[0]), 3, name, ".onnx, .tflite, .mlpackage")

    @pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage", ""])
    def test_that_is_not_there(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"none{suffix}"
        assert_refused(run("predict", path, photographs()[0]), 3, f"There is no artifact {path}")

    @pytest.mark.skipif(platform.system() == "Darwin", reason="this host has Core ML")
    def test_that_this_host_cannot_run(self, defaults: Exported, without: Callable[[str], dict[str, str]]) -> None:
        """The host is not a Mac, and coremltools is missing."""
        result = run_program("predict", defaults.path("coreml"), photographs()[0], "--json", env=without("torch"))
        assert_refused(result, 4, "torch, which is not installed")


class TestImage:
    @pytest.mark.parametrize(
        ("kind", "fragment"),
        [
            ("missing", "There is no image"),
            ("directory", "is a directory"),
            ("text", "is not an image"),
            ("empty", "is not an image"),
            ("truncated", "is damaged"),
        ],
    )
    def test_that_is_none(self, defaults: Exported, tmp_path: Path, kind: str, fragment: str) -> None:
        path, intact = tmp_path / "photo.jpg", photographs()[0].read_bytes()
        contents = {"text": b"a photograph", "empty": b"", "truncated": intact[: len(intact) // 2]}
        if kind == "directory":
            path.mkdir()
        elif kind in contents:
            path.write_bytes(contents[kind])
        result = run("predict", defaults.path("onnx"), photographs()[1], path, "--json")  # the first one is fine
        assert_refused(result, 3, str(path), fragment)

    def test_of_an_absurd_size(self, defaults: Exported, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        Image.fromarray(np.zeros((20000, 10000), dtype=bool)).save(path)
        assert_refused(run("predict", defaults.path("onnx"), path), 3, str(path), "Resize")

    @pytest.mark.parametrize("top", ["0", "-2"])
    def test_with_default_options(self, defaults: Exported, top: str) -> None:
        assert_refused(run("predict", defaults.path("onnx"), photographs()[0], "--top", top), 3, "--top")
