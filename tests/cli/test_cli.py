"""The output and the files of each command with valid input."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from command import (
    DEFAULTS,
    FEATURES,
    NO_HUB,
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
from media_pipe import classify

import runtimes
from evim_deploy.artifact.manifest import embedded
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.catalog.variants import parse_model
from evim_deploy.images.preprocessing import normalise, open_image, resize_and_crop
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.seeded import untrained_model

COMMANDS = ("export", "verify", "predict", "evaluate", "models", "doctor", "bench", "report", "compare")
HEAVY = {
    "PIL",
    "ai_edge_litert",
    "coremltools",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pandas",
    "openvino",
    "psutil",
    "safetensors",
    "scipy",
    "sklearn",
    "tensorflow",
    "timm",
    "torch",
}
HELP_TO_LIBRARIES = 3.0
SEED_1 = ("efficientvim_m1", "-f", "onnx", "-b", "dynamic", "-r", "dynamic", "-w", "random:1")
BATCH_2 = ("m1", "-f", "onnx", "-r", "64", "-w", "random", "-b", "2", "--no-preprocess", "--output", "probabilities")
GRID = ("EfficientViM-M1", "-f", "onnx", "-r", "64", "-r", "64x96", "-p", "fp32", "-p", "fp16", "-w", "random:0")

Array = npt.NDArray[np.float32]
on_linux = pytest.mark.skipif(platform.system() == "Darwin", reason="this host has Core ML")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def defaults(base: Path) -> Exported:
    return exported(base, *DEFAULTS)


@pytest.fixture(scope="session")
def grid(base: Path) -> Exported:
    return exported(base, *GRID, "--quiet")


@pytest.fixture(scope="session")
def dynamic(base: Path) -> Exported:
    return exported(base, *SEED_1)


@pytest.fixture(scope="session")
def batch_2(base: Path) -> Exported:
    return exported(base, *BATCH_2)


@pytest.fixture(scope="session")
def features(base: Path) -> Exported:
    return exported(base, *FEATURES)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("trained")
    checkpoint = folder / "tuned.pth"
    model = untrained_model(parse_model("m1"), 3, 5)
    torch.save({"model_ema": model.state_dict(), "epoch": 3}, checkpoint)
    result = run(
        "export", "m1", "-f", "onnx", "-r", "64", "-w", checkpoint, "--no-verify", "--json", "-o", folder / "out"
    )
    assert_done(result)
    return Exported(result, folder / "out")


@functools.cache
def reference(seed: int = 0) -> EfficientViM:
    return untrained_model(parse_model("m1"), 1000, seed)


def pixels(height: int, width: int) -> Array:
    """The photographs as input of an artifact, (3, 3, H, W)."""
    images = [resize_and_crop(open_image(path), height, width) for path in photographs()]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)


def logits(images: Array, seed: int = 0) -> Array:
    with torch.no_grad():
        return reference(seed)(torch.from_numpy(normalise(images))).numpy()


def softmax(values: Array) -> Array:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def answer(path: Path, images: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: images}))


def assert_close(actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def words(text: str) -> str:
    """A text without its lines, columns and frames."""
    return " ".join(text.replace("\u2502", " ").split())


class TestHelp:
    def test_lists_the_commands_and_the_exit_codes(self) -> None:
        result = run("--help")
        assert_done(result)
        assert result.stderr == ""
        for command in COMMANDS:
            assert re.search(rf"^\W*{command}  ", result.stdout, re.MULTILINE)
        codes = ("0 done", "1 a fault in evim-deploy itself", "2 usage", "3 bad input", "4 something not installed")
        for code in (*codes, "5 parity failed", "6 this host cannot check it", "130 interrupted"):
            assert code in words(result.stdout)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_a_command(self, command: str) -> None:
        result = run(command, "-h")
        assert_done(result)
        assert f"evim-deploy {command}" in words(result.stdout)

    def test_of_export_names_every_option(self) -> None:
        said = words(run("export", "--help").stdout)
        long = "format precision resolution batch weights num-classes labels task output no-preprocess output-dir"
        for option in (*long.split(), "overwrite", "verify", "no-verify", "json", "quiet", "verbose"):
            assert f"--{option}" in said
        assert all(f" -{letter} " in said for letter in "fprbwo")

    def test_version(self) -> None:
        result = run("--version")
        assert_done(result)
        assert re.fullmatch(r"evim-deploy \d+\.\d+\.\d+\S*\n", result.stdout)

    def test_takes_not_much_more_processor_time_than_its_libraries_alone(self) -> None:
        """The minimum of several alternating runs, independent of other load and of the machine's speed."""
        libraries = [sys.executable, "-c", "import typer, rich.console"]
        helps, floors = [], []
        for _ in range(7):
            helps.append(processor_seconds(lambda: assert_done(run("--help"))))
            floors.append(processor_seconds(lambda: subprocess.run(libraries, check=True)))
        assert min(helps) < HELP_TO_LIBRARIES * min(floors), (helps, floors)


def processor_seconds(start: Callable[[], object]) -> float:
    """The processor time of a child process, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loaded_by(program: str) -> set[str]:
    """Top-level modules that a Python program has imported at its end."""
    report = (
        "\nimport json, sys\nsys.stderr.write(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


class TestImports:
    def test_of_the_packages_load_nothing_heavy(self) -> None:
        loaded = loaded_by("import evim_deploy, exporters, runtimes, latency, evim_deploy.cli.main")
        assert not loaded & (HEAVY | {"rich", "pydantic"})

    @pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
    def test_of_help_load_not_even_numpy(self, command: tuple[str, ...]) -> None:
        program = (
            "import sys\nfrom evim_deploy.cli import main\n"
            f"sys.argv = ['evim-deploy', *{command!r}, '--help']\ntry:\n    main.run()\nexcept SystemExit:\n    pass"
        )
        assert not loaded_by(program) & (HEAVY | {"numpy"})

    @pytest.mark.parametrize("line", [["models"], ["doctor"], ["export", "m1", "-b", "0"], ["export", "m1", "-f", "x"]])
    def test_of_what_needs_no_model_load_nothing_heavy(self, line: list[str]) -> None:
        program = (
            "import sys\nfrom evim_deploy.cli import main\n"
            f"sys.argv = ['evim-deploy', *{line!r}]\ntry:\n    main.run()\nexcept SystemExit:\n    pass"
        )
        assert not loaded_by(program) & HEAVY


class TestModels:
    def test_for_people(self) -> None:
        result = run("models")
        assert_done(result)
        table, _, note = result.stdout.partition("\n\n")
        rows = {line.split()[0]: line for line in table.splitlines()[1:]}
        assert sorted(rows) == ["digits", "m1", "m1_dist", "m2", "m2_dist", "m3", "m3_dist", "m4", "m4_dist"]
        for expected in ("19.61 M", "256x256", "timm/efficientvim_m4"):
            assert expected in rows["m4"]
        assert "224x224" in rows["m1"]
        assert rows["digits"].split() == ["digits", "0.43", "M", "64x64", "10", "package:digits"]
        assert all(alias in note for alias in ("efficientvim_m4", "EfficientViM-M4"))

    def test_as_json(self) -> None:
        result = run("models", "--json")
        assert_done(result)
        document = json.loads(result.stdout)
        models = {row["model"]: row for row in document["models"]}
        assert document["schema_version"] == SCHEMA_VERSION
        assert len(models) == 9
        assert models["efficientvim_m4_dist"] == {
            "model": "efficientvim_m4_dist",
            "aliases": ["m4_dist", "efficientvim_m4_dist", "EfficientViM-M4_dist"],
            "parameters": 21_178_509,
            "resolution": 256,
            "num_classes": 1000,
            "distilled": True,
            "weights": "timm/efficientvim_m4_dist.in1k",
        }
        assert not models["efficientvim_m1"]["distilled"]


class TestDoctor:
    def test_for_people(self) -> None:
        result = run("doctor")
        assert_done(result)
        for expected in (f"Python {platform.python_version()}", "torch", "coreml", "onnx", "tflite", "export: yes"):
            assert expected in result.stdout

    def test_as_json(self) -> None:
        result = run("doctor", "--json")
        assert_done(result)
        document = json.loads(result.stdout)
        assert document["schema_version"] == SCHEMA_VERSION
        assert document["host"]["python"] == platform.python_version()
        assert document["host"]["cores"] >= 1
        packages = {package["name"]: package for package in document["packages"]}
        assert packages["onnx"] == {"name": "onnx", "version": onnx.__version__, "needed_for": ["onnx", "networks"]}
        formats = {row["name"]: row for row in document["formats"]}
        assert all(row.keys() == {"name", "export", "run"} for row in formats.values())
        assert [(name, row["export"]) for name, row in formats.items()] == [
            ("coreml", "yes"),
            ("onnx", "yes"),
            ("tflite", "yes"),
        ]
        assert (formats["onnx"]["run"], formats["tflite"]["run"]) == ({"onnxruntime": "yes"}, {"litert": "yes"})
        assert list(formats["coreml"]["run"]) == ["coreml", "mil"]
        assert formats["coreml"]["run"]["mil"] == "yes"

    @on_linux
    def test_says_what_this_host_cannot_run(self) -> None:
        formats = {row["name"]: row for row in json.loads(run("doctor", "--json").stdout)["formats"]}
        assert formats["coreml"]["run"]["coreml"].startswith("not run on this host: ")
        said = run("doctor").stdout
        assert "run and check (coreml): not run on this host: coreml runs on macOS only" in said
        assert "run and check (mil): yes" in said


INPUTS = {
    "coreml": {"shape": [1, 3, 64, 64], "dtype": "image", "layout": "RGB"},
    "onnx": {"shape": [1, 3, 64, 64], "dtype": "float32", "layout": "NCHW"},
    "tflite": {"shape": [1, 64, 64, 3], "dtype": "float32", "layout": "NHWC"},
}
OUTPUTS = {
    "coreml": [
        {"name": "classLabel", "shape": [], "dtype": "string", "layout": "scalar", "range": None},
        {
            "name": "classLabel_probs",
            "shape": [1000],
            "dtype": "dictionary",
            "layout": "label: probability",
            "range": [0, 1],
        },
    ],
    "onnx": [{"name": "logits", "shape": [1, 1000], "dtype": "float32", "layout": "NC", "range": None}],
    "tflite": [{"name": "probabilities", "shape": [1, 1000], "dtype": "float32", "layout": "NC", "range": [0, 1]}],
}
PRECISIONS = {"coreml": "fp16", "onnx": "fp32", "tflite": "fp32"}
SUFFIXES = {"coreml": ".mlpackage", "onnx": ".onnx", "tflite": ".tflite"}
ENGINES = {
    "coreml": "coreml" if platform.system() == "Darwin" else "mil",
    "onnx": "onnxruntime",
    "tflite": "litert",
}
COMPARED = {
    "coreml": [
        ("rewrites", "pytorch", "fp32"),
        ("program", "mil", "fp32"),
        ("precision", "coreml", "all") if platform.system() == "Darwin" else ("precision", "mil", "fp16"),
    ],
    "onnx": [("program", "onnxruntime", "fp32")],
    "tflite": [("program", "litert", "fp32")],
}


def own_metadata(path: Path, format_: str) -> tuple[dict[str, str], str]:
    """An artifact's own metadata and description, read without evim-deploy."""
    if format_ == "onnx":
        model = onnx.load(path)
        return {entry.key: entry.value for entry in model.metadata_props}, model.doc_string
    if format_ == "coreml":
        from coremltools.proto import Model_pb2

        spec = Model_pb2.Model()
        spec.ParseFromString((path / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
        return dict(spec.description.metadata.userDefined), spec.description.metadata.shortDescription
    from ai_edge_litert import schema_py_generated as schema

    tflite = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    entries = {entry.name.decode(): bytes(tflite.buffers[entry.buffer].data) for entry in tflite.metadata}
    own = {name: text.decode() for name, text in entries.items() if name.startswith("evim_deploy")}
    return own, tflite.description.decode()


def digest(path: Path) -> str:
    """The hash as documented: of a file, or of a package's names and contents in sorted order."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    content = b"".join(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("format_", ["coreml", "onnx", "tflite"])
class TestArtifact:
    """The graph of each format with default options."""

    def test_the_json_document(self, defaults: Exported, format_: str) -> None:
        said = defaults.artifact(format_)
        assert said["path"] == str(
            defaults.folder / f"efficientvim_m1_UNTRAINED_random0_64x64_{PRECISIONS[format_]}{SUFFIXES[format_]}"
        )
        expected = {
            "precision": PRECISIONS[format_],
            "model": "efficientvim_m1",
            "task": "classify",
            "resolution": [64, 64],
            "batch": 1,
            "inputs": [{"name": "image", **INPUTS[format_], "range": [0, 255]}],
            "outputs": OUTPUTS[format_],
        }
        assert {name: said[name] for name in expected} == expected
        assert said["weights"]["source"] == "random:0"
        assert said["weights"]["trained"] is False
        assert re.fullmatch("[0-9a-f]{64}", said["weights"]["sha256"])
        structure = said["structure"]
        assert (structure["transposes"], structure["batch_norms"]) == (0, 0)
        assert structure["operations"]
        assert all(type(count) is int and count > 0 for count in structure["operations"].values())

    def test_parity(self, defaults: Exported, format_: str) -> None:
        parity = defaults.artifact(format_)["parity"]
        assert set(parity) == {"status", "reason", "comparisons", "power", "stored", "operations"}
        assert (parity["status"], parity["reason"]) == ("pass", "")
        said = [(each["subject"], each["engine"], each["mode"]) for each in parity["comparisons"]]
        assert said == COMPARED[format_]
        for comparison in parity["comparisons"]:
            measures, tolerance = comparison["measures"], comparison["tolerance"]
            assert comparison["status"] == "pass"
            assert 0 < measures["max_abs"] <= tolerance["max_abs"]
            assert 0 < measures["mean_abs"] <= tolerance["mean_abs"]
            assert len(comparison["inputs"]) == 12
        power = parity["power"]
        assert power["subject"] == "program"
        assert 0.9 * power["layers"] <= power["caught"] <= power["layers"] == 84
        assert power["summary"] == f"detects a 1 % weight perturbation in {power['caught']} of 84 layers"

    def test_size(self, defaults: Exported, format_: str) -> None:
        path = defaults.path(format_)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert defaults.artifact(format_)["size_bytes"] == sum(len(file.read_bytes()) for file in files) > 10_000_000

    def test_manifest_beside(self, defaults: Exported, format_: str) -> None:
        said = defaults.artifact(format_)
        path = Path(said["path"])
        manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert manifest["artifact"] == path.name
        assert manifest["sha256"] == digest(path)
        assert {k: v for k, v in manifest.items() if k not in ("artifact", "sha256")} == {
            k: v for k, v in said.items() if k != "path"
        }
        assert manifest["tools"]["torch"] == torch.__version__.partition("+")[0]

    def test_own_metadata(self, defaults: Exported, format_: str) -> None:
        said = defaults.artifact(format_)
        metadata, description = own_metadata(Path(said["path"]), format_)
        inside = embedded({k: v for k, v in said.items() if k not in ("path", "size_bytes")})
        assert json.loads(metadata[METADATA_KEY]) == inside
        assert (inside["parity"], inside["weights"]["source"]) == ({"status": said["parity"]["status"]}, "random:0")
        labels = json.loads(metadata[LABELS_KEY])
        assert (len(labels), labels[0], labels[999]) == (1000, "tench", "toilet tissue")
        assert UNTRAINED in description
        assert "random:0" in description
        assert "efficientvim_m1" in description


class TestExport:
    def test_json_is_one_document_and_all_that_stdout_holds(self, defaults: Exported) -> None:
        document = json.loads(defaults.result.stdout)
        assert set(document) == {"schema_version", "artifacts"}
        assert document["schema_version"] == SCHEMA_VERSION
        assert [artifact["format"] for artifact in document["artifacts"]] == ["coreml", "onnx", "tflite"]

    def test_leaves_the_artifacts_and_their_manifests(self, defaults: Exported) -> None:
        names = [Path(artifact["path"]).name for artifact in defaults.artifacts]
        assert sorted(path.name for path in defaults.folder.iterdir()) == sorted(
            [*names, *(f"{name}.json" for name in names)]
        )

    def test_says_that_the_weights_are_untrained_and_why(self, defaults: Exported) -> None:
        warnings = [line for line in defaults.result.stderr.splitlines() if line.startswith("WARNING: ")]
        assert len(warnings) == 1
        assert warnings[0].startswith(f"WARNING: {UNTRAINED} weights (random:0)")
        assert NO_HUB in warnings[0]

    def test_verbose_says_what_each_rewrite_did(self, defaults: Exported) -> None:
        rewrites = defaults.artifact("onnx")["rewrites"]
        assert len(rewrites) == 10
        for rewrite in rewrites:
            said = [line for line in defaults.result.stderr.splitlines() if line.startswith(f"  {rewrite['name']}: ")]
            assert len(said) == 3  # of each artifact
            line = said[0]
            assert f"{rewrite['applied']} times, removed " in line
            assert rewrite["applied"] > 0
            for operation, number in rewrite["removed"].items():
                assert f"{number} {operation}" in line

    def test_shows_progress(self, defaults: Exported, dynamic: Exported) -> None:
        for step in ("Loading weights", "onnx fp32 64x64: writing", "tflite fp32 64x64: comparing with PyTorch"):
            assert step in defaults.result.stderr
        assert "times, removed" not in dynamic.result.stderr

    def test_quiet_keeps_the_warning_alone(self, grid: Exported) -> None:
        assert re.fullmatch(r"WARNING: UNTRAINED weights \(random:0\)\.?\n", grid.result.stderr)

    def test_repeated_options_make_every_combination(self, grid: Exported) -> None:
        made = [(artifact["resolution"], artifact["precision"]) for artifact in grid.artifacts]
        assert made == [([64, 64], "fp32"), ([64, 64], "fp16"), ([64, 96], "fp32"), ([64, 96], "fp16")]
        assert len({artifact["path"] for artifact in grid.artifacts}) == 4
        assert len(left_in(grid.folder)) == 8
        for artifact in grid.artifacts:
            assert artifact["inputs"][0]["shape"] == [1, 3, *artifact["resolution"]]
            (actual,) = answer(Path(artifact["path"]), pixels(*artifact["resolution"])[:1])
            expected = logits(pixels(*artifact["resolution"])[:1])
            tolerance = 1e-4 if artifact["precision"] == "fp32" else 2e-2
            np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())

    def test_fp16_is_half_the_size(self, grid: Exported) -> None:
        sizes = [artifact["size_bytes"] for artifact in grid.artifacts]
        assert sizes[1] < 0.55 * sizes[0]

    def test_model_names(self, defaults: Exported, grid: Exported, dynamic: Exported, features: Exported) -> None:
        for made in (defaults, grid, dynamic, features):  # asked for under four names
            assert {artifact["model"] for artifact in made.artifacts} == {"efficientvim_m1"}

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ((), "coreml"),
            (("-f", "ios"), "coreml"),
            (("-f", "mlpackage"), "coreml"),
            (("-f", "CoreML"), "coreml"),
            (("-f", "litert"), "tflite"),
            (("--format", "tflite"), "tflite"),
        ],
    )
    def test_format_names(self, tmp_path: Path, options: tuple[str, ...], name: str) -> None:
        """The refusal names the format: an export of each would take a minute."""
        assert_refused(
            run("export", "m1", "-b", "dynamic", *options, "-o", tmp_path), 3, f"{name} does not support a dynamic"
        )

    def test_a_seed_gives_the_same_weights_in_every_run(self, defaults: Exported, grid: Exported) -> None:
        first, second = defaults.artifact("onnx"), grid.artifacts[0]
        assert first["weights"]["sha256"] == second["weights"]["sha256"]
        first_model, second_model = (onnx.load(artifact["path"]).graph for artifact in (first, second))
        assert first_model.SerializeToString(deterministic=True) == second_model.SerializeToString(deterministic=True)

    def test_seeds_differ(self, defaults: Exported, dynamic: Exported) -> None:
        first, second = defaults.artifact("onnx"), dynamic.artifact("onnx")
        assert second["weights"]["source"] == "random:1"
        assert "UNTRAINED_random1" in second["path"]
        assert first["weights"]["sha256"] != second["weights"]["sha256"]

    def test_dynamic_batch_and_resolution(self, dynamic: Exported) -> None:
        said = dynamic.artifact("onnx")
        assert (said["resolution"], said["batch"]) == ("dynamic", "dynamic")
        assert said["inputs"][0]["shape"] == ["batch", 3, "height", "width"]
        assert said["outputs"][0]["shape"] == ["batch", 1000]
        assert said["parity"]["status"] == "pass"
        for height, width, batch in ((64, 64, 1), (96, 160, 3), (75, 50, 2)):
            images = pixels(height, width)[:batch]
            (actual,) = answer(dynamic.path("onnx"), images)
            assert_close(actual, logits(images, seed=1))

    def test_batch_of_normalised_tensors(self, batch_2: Exported) -> None:
        said = batch_2.artifact("onnx")
        assert (said["batch"], said["preprocess"]) == (2, False)
        assert said["inputs"][0] == {
            "name": "image",
            "shape": [2, 3, 64, 64],
            "dtype": "float32",
            "layout": "NCHW",
            "range": None,
        }
        assert said["outputs"] == [
            {"name": "probabilities", "shape": [2, 1000], "dtype": "float32", "layout": "NC", "range": [0, 1]}
        ]
        for part in ("batch-2", "probabilities", "normalised-input"):
            assert part in Path(said["path"]).name
        images = pixels(64, 64)[:2]
        (actual,) = answer(batch_2.path("onnx"), normalise(images))
        assert_close(actual, softmax(logits(images)))

    def test_dense_features(self, features: Exported) -> None:
        said = features.artifact("onnx")
        assert (said["task"], said["num_classes"]) == ("features", None)
        assert {spec["name"]: spec["shape"] for spec in said["outputs"]} == {
            "stride16": [1, 128, 4, 4],
            "stride32": [1, 192, 2, 2],
            "stride64": [1, 320, 1, 1],
        }
        assert "features" in Path(said["path"]).name
        image = pixels(64, 64)[:1]
        with torch.no_grad():
            expected = reference().features(torch.from_numpy(normalise(image)))
        for actual, feature in zip(answer(features.path("onnx"), image), expected, strict=True):
            assert_close(actual, feature.numpy())

    @pytest.mark.parametrize(
        ("name", "content"),
        [("labels.txt", "\ufeffcat\n\nbig dog \nZi\u00e8ge\n"), ("labels.json", '["cat", "big dog", "Zi\\u00e8ge"]')],
    )
    def test_labels_and_no_verification(self, tmp_path: Path, name: str, content: str) -> None:
        labels, folder = tmp_path / name, tmp_path / "out"
        labels.write_text(content, "utf-8")
        options = ("-w", "random", "--num-classes", "3", "--labels", labels, "--no-verify", "-o", folder)
        result = run("export", "m1", "-f", "onnx", "-r", "64", *options, "--json")
        assert_done(result)
        (said,) = json.loads(result.stdout)["artifacts"]
        assert (said["num_classes"], said["outputs"][0]["shape"]) == (3, [1, 3])
        metadata, _ = own_metadata(Path(said["path"]), "onnx")
        assert json.loads(metadata[LABELS_KEY]) == ["cat", "big dog", "Zi\u00e8ge"]
        unproven = {"comparisons": [], "power": None, "stored": None, "operations": None}
        assert said["parity"] == {"status": "not_run", "reason": "--no-verify", **unproven}

    def test_for_people(self, tmp_path: Path) -> None:
        result = run("export", "m1", "-f", "onnx", "-r", "64", "-w", "random:7", "-o", tmp_path, "--verify", "--quiet")
        assert_done(result)
        assert re.fullmatch(r"WARNING: UNTRAINED weights \(random:7\)\.?\n", result.stderr)
        lines = result.stdout.splitlines()
        assert lines[0] == str(tmp_path / "efficientvim_m1_UNTRAINED_random7_64x64_fp32.onnx")
        assert Path(lines[0]).is_file()
        for expected in (
            "0 transposes, 0 BatchNorms",
            "input   image: float32 1x3x64x64 NCHW in 0..255",
            "output  logits: float32 1x1000 NC",
            "weights random:7, sha256 ",
            "parity PASS",
            "detects a 1 % weight perturbation in 8",
            "over 12 inputs: astronaut, cat,",
            "program  ",
            "onnxruntime fp32",
            "UNTRAINED weights: ",
        ):
            assert expected in result.stdout

    def test_verification_of_core_ml_needs_no_mac(self, tmp_path: Path) -> None:
        options = ("-w", "random", "--num-classes", "7", "--verify", "-o", tmp_path, "--quiet")
        result = run("export", "m1", "-f", "coreml", "-r", "64", *options)
        assert_done(result)
        for expected in ("parity PASS", "rewrites", "program", "mil fp32", "precision", "rounded network"):
            assert expected in result.stdout


class TestTrainedWeights:
    """Weights of a checkpoint: the notes on untrained weights must not appear."""

    def test_export(self, trained: Exported) -> None:
        said = trained.artifact("onnx")
        checkpoint = trained.folder.with_name("tuned.pth")
        assert said["weights"]["source"] == checkpoint.name
        assert said["weights"]["trained"] is True
        assert said["weights"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert Path(said["path"]).name == "efficientvim_m1_64x64_fp32.onnx"
        assert said["num_classes"] == 3
        assert UNTRAINED not in trained.result.stderr
        metadata, description = own_metadata(Path(said["path"]), "onnx")
        assert UNTRAINED not in description
        assert json.loads(metadata[LABELS_KEY]) == ["class 0", "class 1", "class 2"]

    def test_predict(self, trained: Exported) -> None:
        result = run("predict", trained.path("onnx"), photographs()[0])
        assert_done(result)
        assert UNTRAINED not in result.stdout
        assert len(result.stdout.splitlines()) == 1 + 3  # fewer classes than are asked for


class TestOverwriting:
    @pytest.fixture
    def folder(self, grid: Exported, tmp_path: Path) -> Path:
        """An artifact of an earlier export and its manifest."""
        for path in (name := Path(grid.artifacts[0]["path"]), name.with_name(f"{name.name}.json")):
            shutil.copy(path, tmp_path / path.name)
        return tmp_path

    LINE = ("export", "m1", "-f", "onnx", "-r", "64", "-w", "random:0", "--no-verify")

    @staticmethod
    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    @pytest.mark.parametrize("which", ["the artifact", "the manifest"])
    def test_is_not_done_unasked(self, folder: Path, which: str) -> None:
        next(folder.glob("*.json" if which == "the artifact" else "*.onnx")).unlink()
        before = self.contents(folder)
        assert len(before) == 1
        assert_refused(run(*self.LINE, "-o", folder), 3, "exists already", "--overwrite")
        assert self.contents(folder) == before

    def test_replaces_both_files(self, folder: Path) -> None:
        before = self.contents(folder)
        assert_done(run(*self.LINE, "-o", folder, "--overwrite"))
        after = self.contents(folder)
        assert after.keys() == before.keys()
        (artifact,) = folder.glob("*.onnx")
        manifest = json.loads(artifact.with_name(f"{artifact.name}.json").read_text())
        assert manifest["parity"]["reason"] == "--no-verify"
        assert json.loads(own_metadata(artifact, "onnx")[0][METADATA_KEY])["parity"] == {"status": "not_run"}
        assert manifest["sha256"] == digest(artifact)

    def test_that_fails_keeps_the_old_files(self, folder: Path) -> None:
        before = self.contents(folder)

        def no_large_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        assert_refused(run_program(*self.LINE, "-o", folder, "--overwrite", preexec_fn=no_large_files), 3)
        assert self.contents(folder) == before


class TestHub:
    def test_that_is_silent_times_out(self, tmp_path: Path) -> None:
        """A hub that accepts connections and never answers: the command closes the connection."""
        held = []

        def hold(server: socket.socket) -> None:
            connection, _ = server.accept()
            with connection:
                while connection.recv(4096):
                    pass
            held.append(connection)

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=hold, args=(server,), daemon=True)
            thread.start()
            endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
            line = ("export", "m1", "-f", "onnx", "--labels", tmp_path / "none")  # stops after the weights
            result = run_program(*line, env={"HF_ENDPOINT": endpoint})
            thread.join(timeout=10)
        assert_refused(result, 3, "Label file not found")
        assert f"WARNING: {UNTRAINED} weights (random:0)" in result.stderr
        assert endpoint in result.stderr
        assert len(held) == 1  # hung up on, and not asked again


def predicted(*args: str | Path) -> dict[str, Any]:
    result = run("predict", *args, "--json")
    assert_done(result)
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema_version"] == SCHEMA_VERSION
    return document


class TestPredict:
    def assert_as_pytorch(self, document: dict[str, Any], side: int, seed: int = 0) -> None:
        """Each photograph's top classes and their probabilities are the reference's."""
        expected = softmax(logits(pixels(side, side), seed))
        assert [prediction["image"] for prediction in document["predictions"]] == list(map(str, photographs()))
        for prediction, row in zip(document["predictions"], expected, strict=True):
            top = prediction["top"]
            assert [guess["index"] for guess in top] == np.argsort(-row)[: len(top)].tolist()
            for guess in top:
                assert guess["probability"] == pytest.approx(row[guess["index"]], abs=1e-4)

    @on_linux
    def test_a_package_agrees_with_pytorch(self, defaults: Exported) -> None:
        """Agreement within the error of fp16."""
        document = predicted(defaults.path("coreml"), *photographs(), "--top", "3")
        assert document["engine"] == ENGINES["coreml"]
        expected = softmax(logits(pixels(64, 64)))
        for prediction, row in zip(document["predictions"], expected, strict=True):
            assert row[prediction["top"][0]["index"]] > 0.998 * row.max()  # two classes of one picture are 0.1 % apart
            for guess in prediction["top"]:
                assert guess["probability"] == pytest.approx(row[guess["index"]], rel=0.1)

    @pytest.mark.parametrize("format_", ["onnx", "tflite"])
    def test_agrees_with_pytorch(self, defaults: Exported, format_: str) -> None:
        document = predicted(defaults.path(format_), *photographs(), "--top", "3")
        self.assert_as_pytorch(document, 64)
        assert document["engine"] == ENGINES[format_]
        assert document["artifact"] == str(defaults.path(format_))
        assert document["model"] == "efficientvim_m1"
        assert document["weights"]["trained"] is False
        assert all(len(prediction["top"]) == 3 for prediction in document["predictions"])

    def test_mediapipe_opens_what_was_exported(self, defaults: Exported) -> None:
        """MediaPipe gives the same names and probabilities for the artifact's input pixels."""
        photograph = photographs()[0]
        (prediction,) = predicted(defaults.path("tflite"), photograph)["predictions"]
        result = classify(defaults.path("tflite"), resize_and_crop(open_image(photograph), 64, 64))
        assert max(result, key=lambda each: each[1])[0] == prediction["top"][0]["label"]
        for guess in prediction["top"]:
            name, score = result[guess["index"]]
            assert name == guess["label"]
            assert score == pytest.approx(guess["probability"], rel=1e-4)

    def test_photographs_have_different_predictions(self, defaults: Exported) -> None:
        """Otherwise a network that ignores its input would pass the comparison with PyTorch."""
        document = predicted(defaults.path("onnx"), *photographs())
        assert len({prediction["top"][0]["index"] for prediction in document["predictions"]}) > 1

    def test_labels_are_the_artifacts_own(self, defaults: Exported) -> None:
        with runtimes.open_artifact(defaults.path("tflite")) as session:
            labels = json.loads(session.metadata[LABELS_KEY])
        (prediction,) = predicted(defaults.path("tflite"), photographs()[0])["predictions"]
        assert len(prediction["top"]) == 5
        assert [guess["label"] for guess in prediction["top"]] == [
            labels[guess["index"]] for guess in prediction["top"]
        ]

    def test_three_images_with_a_batch_of_two(self, batch_2: Exported) -> None:
        self.assert_as_pytorch(predicted(batch_2.path("onnx"), *photographs()), 64)

    def test_dynamic_artifact_sees_the_native_size(self, dynamic: Exported) -> None:
        self.assert_as_pytorch(predicted(dynamic.path("onnx"), *photographs()), 224, seed=1)

    def test_for_people(self, defaults: Exported) -> None:
        images = photographs()[:2]
        result = run("predict", defaults.path("onnx"), *images, "--top", "2")
        assert_done(result)
        assert result.stderr == ""
        lines = result.stdout.splitlines()
        assert lines[0].startswith(f"{UNTRAINED} weights: ")
        assert lines[0].endswith("(random:0)")
        assert [lines[1], lines[4]] == [str(image) for image in images]
        assert len(lines) == 7
        (prediction,) = predicted(defaults.path("onnx"), images[0], "--top", "1")["predictions"]
        best = prediction["top"][0]
        assert lines[2].split() == [f"{best['probability']:.2%}", *best["label"].split()]


def test_python_m_is_the_command_line() -> None:
    line = [sys.executable, "-m", "evim_deploy", "--version"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.startswith("evim-deploy ")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    """The same as ``evim-deploy models | true``."""
    script = f"{sys.executable} -m evim_deploy models | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
