"""What is said of an artifact, and how its files get their names: all of them or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evim_deploy.artifact.descriptions import describe
from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.manifest import ManifestDocument
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import UNTRAINED_NOTICE, Target, Weights, file_stem
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.errors import BadInput, ParityFailed
from evim_deploy.common.publish import publish, refuse_overwrite, sha256, size_bytes, staging
from evim_deploy.images.preprocessing import PAPER

M4 = MODELS["efficientvim_m4"]
TRAINED = Weights("timm:efficientvim_m4.e300_in1k", True, "ab" * 32)
UNTRAINED = Weights("random:7", False, "cd" * 32, "the hub does not answer")
USUAL = Target(
    format="coreml",
    precision="fp16",
    height=256,
    width=256,
    batch=1,
    task="classify",
    output="probabilities",
    preprocess=True,
    labels=("a", "b"),
)

# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "weights", "stem"),
    [
        ({}, TRAINED, "efficientvim_m4_256x256_fp16"),
        ({}, UNTRAINED, "efficientvim_m4_UNTRAINED_random7_256x256_fp16"),
        ({"precision": "fp32", "height": 192, "width": 320}, TRAINED, "efficientvim_m4_192x320_fp32"),
        ({"height": None, "width": None}, TRAINED, "efficientvim_m4_dynamic_fp16"),
        ({"batch": 8}, TRAINED, "efficientvim_m4_256x256_fp16_batch-8"),
        ({"batch": None}, TRAINED, "efficientvim_m4_256x256_fp16_batch-dynamic"),
        ({"output": "logits"}, TRAINED, "efficientvim_m4_256x256_fp16_logits"),
        ({"task": "features", "output": "features"}, TRAINED, "efficientvim_m4_256x256_fp16_features"),
        ({"preprocess": False}, TRAINED, "efficientvim_m4_256x256_fp16_normalised-input"),
        (
            {"height": None, "width": None, "batch": None, "output": "logits", "preprocess": False},
            UNTRAINED,
            "efficientvim_m4_UNTRAINED_random7_dynamic_fp16_batch-dynamic_logits_normalised-input",
        ),
    ],
)
def test_file_stem(changes: dict[str, Any], weights: Weights, stem: str) -> None:
    assert file_stem(M4, replace(USUAL, **changes), weights, "probabilities") == stem


def test_what_is_usual_is_the_formats() -> None:
    logits = replace(USUAL, output="logits")
    assert file_stem(M4, logits, TRAINED, "logits") == "efficientvim_m4_256x256_fp16"
    assert file_stem(M4, USUAL, TRAINED, "logits") == "efficientvim_m4_256x256_fp16_probabilities"


def test_the_distilled_model_is_in_the_name() -> None:
    assert file_stem(MODELS["efficientvim_m4_dist"], USUAL, TRAINED, "probabilities").startswith(
        "efficientvim_m4_dist_"
    )


@pytest.mark.parametrize(
    ("target", "weights", "sentence"),
    [
        (USUAL, TRAINED, "efficientvim_m4, fp16, probabilities."),
        (USUAL, UNTRAINED, f"efficientvim_m4, fp16, probabilities. {UNTRAINED_NOTICE} (random:7)."),
        (
            replace(USUAL, task="features", output="features"),
            TRAINED,
            "efficientvim_m4, fp16, dense features at strides 16, 32 and 64.",
        ),
    ],
)
def test_describe(target: Target, weights: Weights, sentence: str) -> None:
    assert describe(M4, target, weights) == sentence


@pytest.mark.parametrize(
    ("height", "width", "text", "resolution"),
    [(192, 320, "coreml fp16 192x320", [192, 320]), (None, None, "coreml fp16 dynamic", "dynamic")],
)
def test_a_target_in_words(height: int | None, width: int | None, text: str, resolution: object) -> None:
    target = replace(USUAL, height=height, width=width)
    assert (str(target), target.resolution) == (text, resolution)


# --- structure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "transposes", "batch_norms"),
    [
        ({"Conv": 3}, 0, 0),
        ({"Transpose": 2, "BatchNormalization": 3, "Conv": 9}, 2, 3),
        ({"TRANSPOSE": 4, "TRANSPOSE_CONV": 1}, 5, 0),
        ({"transpose": 1, "batch_norm": 2, "layer_norm": 7}, 1, 2),
        ({"BATCH_MATMUL": 5, "batch_to_space": 1}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_structure_counts_as_any_format_spells(operations: dict[str, int], transposes: int, batch_norms: int) -> None:
    structure = Structure.of(Counter(operations))
    assert (structure.transposes, structure.batch_norms) == (transposes, batch_norms)
    assert structure.operations == operations


# --- the manifest ------------------------------------------------------------------------------------------


def facts(**changes: Any) -> ArtifactInfo:
    return ArtifactInfo(
        **{
            "model": M4,
            "target": USUAL,
            "weights": UNTRAINED,
            "preprocessing": PAPER,
            "signature": Signature(
                (TensorSpec(name="image", shape=(1, 3, 256, 256), dtype="image", layout="RGB", range=(0.0, 255.0)),),
                (TensorSpec(name="classLabel", shape=(), dtype="string", layout="scalar", range=None),),
            ),
            "structure": Structure.of(Counter({"relu": 2, "conv": 3})),
            "parity": Parity.not_run("Core ML exists on macOS alone"),
            "rewrites": ({"name": "fold", "applied": 2, "removed": {"batch_norm": 2}, "added": {}},),
            "tools": {"evim-deploy": "0.1.0"},
            **changes,
        }
    )


def test_the_manifest_is_plain_json() -> None:
    document = ManifestDocument.of(facts()).to_dict()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(json.loads(text)))
    assert list(document["structure"]["operations"]) == ["conv", "relu"]


def test_the_manifest_has_the_fields_that_were_promised() -> None:
    document = json.loads(json.dumps(ManifestDocument.of(facts()).to_dict()))
    assert document["schema_version"] == 2
    assert (document["format"], document["precision"], document["model"], document["task"]) == (
        "coreml",
        "fp16",
        "efficientvim_m4",
        "classify",
    )
    assert (document["resolution"], document["batch"], document["num_classes"]) == ([256, 256], 1, 2)
    assert document["weights"] == {
        "source": "random:7",
        "trained": False,
        "sha256": "cd" * 32,
        "note": "the hub does not answer",
    }
    assert document["inputs"] == [
        {"name": "image", "shape": [1, 3, 256, 256], "dtype": "image", "layout": "RGB", "range": [0.0, 255.0]}
    ]
    assert document["outputs"][0]["range"] is None
    assert document["structure"] == {"operations": {"conv": 3, "relu": 2}, "transposes": 0, "batch_norms": 0}
    assert document["parity"] == {
        "status": "not_run",
        "reason": "Core ML exists on macOS alone",
        "comparisons": [],
        "power": None,
        "stored": None,
        "operations": None,
    }
    assert document["rewrites"] == [{"name": "fold", "applied": 2, "removed": {"batch_norm": 2}, "added": {}}]
    assert document["tools"] == {"evim-deploy": "0.1.0"}


def test_dynamic_axes_in_the_manifest() -> None:
    document = ManifestDocument.of(facts(target=replace(USUAL, height=None, width=None, batch=None))).to_dict()
    assert (document["resolution"], document["batch"]) == ("dynamic", "dynamic")


# --- sizes and hashes --------------------------------------------------------------------------------------


def package(path: Path, content: str = "one") -> Path:
    (path / "Data" / "weights").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "weights" / "weight.bin").write_text(content)
    return path


def test_size_and_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert size_bytes(path) == 3
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_size_and_hash_of_a_package(tmp_path: Path) -> None:
    path = package(tmp_path / "m.mlpackage")
    assert size_bytes(path) == 5
    expected = hashlib.sha256(b"Data/weights/weight.bin\0oneManifest.json\0{}")
    assert sha256(path) == expected.hexdigest()


def test_a_packages_hash_is_of_names_and_contents_and_not_of_its_place(tmp_path: Path) -> None:
    first, second = package(tmp_path / "a"), package(tmp_path / "elsewhere")
    assert sha256(first) == sha256(second)
    assert sha256(package(tmp_path / "b", "two")) != sha256(first)
    (second / "Manifest.json").rename(second / "manifest.json")
    assert sha256(second) != sha256(first)


# --- staging -----------------------------------------------------------------------------------------------


def everything(directory: Path) -> dict[str, str]:
    """All files under a directory, hidden ones too, and what is in them."""
    return {p.relative_to(directory).as_posix(): p.read_text() for p in directory.rglob("*") if p.is_file()}


def test_staging_makes_the_directory_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deeper"
    with staging(out) as folder:
        assert folder.parent == out
        assert folder.name.startswith(".")
        (folder / "part").write_text("x")
    assert out.is_dir()
    assert list(out.iterdir()) == []


class StrangeError(Exception):
    """Something that a library raises."""


@pytest.mark.parametrize(
    "error",
    [
        StrangeError("no"),
        KeyboardInterrupt(),
        SystemExit(1),
        ParityFailed("wrong", "report it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_staging_leaves_nothing_and_hides_no_error(tmp_path: Path, error: BaseException) -> None:
    def work() -> None:
        with staging(tmp_path) as folder:
            package(folder / "m.mlpackage")
            raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_lack_of_memory_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is not enough memory"), staging(tmp_path):
        raise MemoryError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, r"The disk of .* is full\."), (errno.EDQUOT, r"The disk quota of .* is used up\.")],
)
def test_a_full_disk_is_said_so(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught, staging(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in caught.value.cause
    assert "Free some space" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_meets_a_full_disk_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(BadInput, match="is full"), staging(tmp_path):
        raise RuntimeError("basic_ios::clear: iostream error")


def test_with_room_on_the_disk_an_error_is_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    with pytest.raises(RuntimeError, match="iostream"), staging(tmp_path):
        raise RuntimeError("basic_ios::clear: iostream error")


def test_another_trouble_of_the_file_system_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"/x/y cannot be opened or written: Permission denied"), staging(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/x/y")


def test_a_file_is_no_output_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="is not a directory"), staging(directory):
            pass
    assert everything(tmp_path) == {"file": "mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="cannot be written"), staging(tmp_path):
        pass


def test_a_directory_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: str, dir: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(BadInput, match="cannot be opened or written: Permission denied"), staging(tmp_path):
        pass


# --- publishing --------------------------------------------------------------------------------------------

NEW = {"m.onnx": "new model", "m.onnx.json": "new manifest"}
OLD = {"m.onnx": "old model", "m.onnx.json": "old manifest"}


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def test_publish(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        finals = publish(write(folder, NEW), tmp_path, overwrite=True)
    assert finals == [tmp_path / name for name in NEW]
    assert everything(tmp_path) == NEW


def test_publish_does_not_replace_what_came_meanwhile(tmp_path: Path) -> None:
    """The names were free when the work began; another process took one."""
    (old,) = write(tmp_path, {next(iter(NEW)): "another's"})
    with staging(tmp_path) as folder, pytest.raises(BadInput, match="exists already"):
        publish(write(folder, NEW), tmp_path, overwrite=False)
    assert old.read_text() == "another's"


def test_publish_replaces_what_stands_there(tmp_path: Path) -> None:
    write(tmp_path, {**OLD, "other": "stays"})
    with staging(tmp_path) as folder:
        publish(write(folder, NEW), tmp_path, overwrite=True)
    assert everything(tmp_path) == {**NEW, "other": "stays"}


def test_publish_replaces_a_package_whole(tmp_path: Path) -> None:
    package(tmp_path / "m.mlpackage", "old")
    (tmp_path / "m.mlpackage" / "left over").write_text("old")
    with staging(tmp_path) as folder:
        publish([package(folder / "m.mlpackage", "new")], tmp_path, overwrite=True)
    assert everything(tmp_path) == {"m.mlpackage/Data/weights/weight.bin": "new", "m.mlpackage/Manifest.json": "{}"}


class FailingRename:
    """Path.rename that fails the n-th time alone, or interrupts it."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error, self.calls = at, error, 0
        self.rename = Path.rename

    def __get__(self, path: Path, owner: type) -> Any:
        def rename(target: Path) -> Path:
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            return self.rename(path, target)

        return rename


INTERRUPTIONS = [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("old", "renames"), [({}, 2), (OLD, 4), ({"m.onnx": "old model"}, 3)])
def test_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: dict[str, str], renames: int, error: BaseException
) -> None:
    """Whichever rename fails, what stood there before stands there again."""

    def work(out: Path, at: int) -> None:
        with monkeypatch.context() as patch, staging(out) as folder:
            staged = write(folder, NEW)
            patch.setattr(Path, "rename", FailingRename(at, error))
            publish(staged, out, overwrite=True)

    for at in range(1, renames + 1):
        out = tmp_path / str(at)
        out.mkdir()
        write(out, {**old, "other": "stays"})
        with pytest.raises((BadInput, KeyboardInterrupt)):
            work(out, at)
        assert everything(out) == {**old, "other": "stays"}, f"rename {at}"


def test_the_failing_rename_fails_when_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, OLD)
    failing = FailingRename(99, OSError())
    with staging(tmp_path) as folder:
        staged = write(folder, NEW)
        monkeypatch.setattr(Path, "rename", failing)
        publish(staged, tmp_path, overwrite=True)
    assert failing.calls == 4
    assert everything(tmp_path) == NEW


def test_nothing_is_published_that_could_not_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path, OLD)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match="is full"), staging(tmp_path) as folder:
        publish(write(folder, NEW), tmp_path, overwrite=True)
    assert everything(tmp_path) == OLD


@pytest.mark.parametrize("kind", ["file", "directory", "link to nothing"])
def test_nothing_is_overwritten_unasked(tmp_path: Path, kind: str) -> None:
    free, taken = tmp_path / "free", tmp_path / "taken"
    refuse_overwrite([free, taken], overwrite=False)
    if kind == "file":
        taken.write_text("mine")
    elif kind == "directory":
        taken.mkdir()
    else:
        taken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="taken exists already") as caught:
        refuse_overwrite([free, taken], overwrite=False)
    assert "--overwrite" in caught.value.remedy
    refuse_overwrite([free, taken], overwrite=True)
