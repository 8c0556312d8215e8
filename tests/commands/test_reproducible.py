"""The same inputs, versions and options make the same bytes for every user, host and date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import every_artifact
import pytest
import torch

from evim_deploy.artifact.manifest import embedded
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.rebuild import differences
from evim_deploy.commands.request import Request
from evim_deploy.common.publish import members
from evim_deploy.common.threads import torch_threads
from evim_deploy.formats.coreml import read_spec
from exporters import FORMATS
from exporters.coreml import package as coreml_package

DIGITS = parse_model("digits")


@dataclass(frozen=True)
class Condition:
    """The user, host and date of an export; none of the words occurs in a file by chance."""

    folder: str
    user: str
    host: str
    day: str
    timezone: str
    hash_seed: str
    threads: str

    def words(self, root: Path) -> list[bytes]:
        """The words that must not occur in an artifact."""
        year, month, day = self.day.split("-")
        dates = (self.day, f"{year}{month}{day}", f"{month}/{day}/{year}", f"{day}/{month}/{year}", f"{year}:{month}")
        return [each.encode() for each in (str(root), self.folder, self.user, self.host, *dates)]


CONDITIONS = (
    Condition("the-first-folder", "alice-of-test", "host-of-alice", "2031-05-17", "UTC", "1", "1"),
    Condition("another/folder-of-bob", "bob-of-test", "host-of-bob", "2032-11-02", "Asia/Tokyo", "2", "2"),
)


def made(root: Path, condition: Condition, how_many: str) -> Path:
    """The folder with the artifacts of a process in a condition."""
    home = root / condition.user
    home.mkdir()
    own = {
        "HOME": str(home),
        "USER": condition.user,
        "LOGNAME": condition.user,
        "HOSTNAME": condition.host,
        "TZ": condition.timezone,
        "PYTHONHASHSEED": condition.hash_seed,
        "OMP_NUM_THREADS": condition.threads,
    }
    folder = root / condition.folder
    line = [sys.executable, every_artifact.__file__, str(folder), condition.host, condition.day, how_many]
    subprocess.run(line, env={**os.environ, **own}, cwd=home, check=True, capture_output=True, timeout=1800)
    return folder / every_artifact.ARTIFACTS


HOW_MANY = [
    pytest.param("few", marks=pytest.mark.slow),
    pytest.param("all", marks=pytest.mark.exhaustive),
]


@pytest.fixture(scope="module", params=HOW_MANY)
def how_many(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(how_many: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(how_many)


@pytest.fixture(scope="module")
def pair(root: Path, how_many: str) -> tuple[Path, Path]:
    """The artifacts of the same inputs in two conditions."""
    first, second = (root / each.folder for each in CONDITIONS)
    every_artifact.prepare(first)
    second.parent.mkdir()
    second.mkdir()
    for name in (every_artifact.WEIGHTS, every_artifact.CLASSIFIER):
        (second / name).write_bytes((first / name).read_bytes())
    (second / every_artifact.IMAGES).mkdir()
    for image in (first / every_artifact.IMAGES).iterdir():
        (second / every_artifact.IMAGES / image.name).write_bytes(image.read_bytes())
    one, other = (made(root, condition, how_many) for condition in CONDITIONS)
    return one, other


def written(path: Path) -> Iterator[bytes]:
    """The names and bytes of an artifact's files, and of the files in an archive."""
    for name, file in members(path).items():
        yield name.encode()
        yield file.read_bytes()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                yield from (repr(each).encode() + archive.read(each) for each in archive.infolist())


def words_in(path: Path, words: list[bytes]) -> list[bytes]:
    """The words that occur in an artifact."""
    contents = list(written(path))
    return [word for word in words if any(word in content for content in contents)]


def artifacts_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {row.suffix for row in FORMATS.values()})


def test_every_format_and_precision_is_there(pair: tuple[Path, Path], how_many: str) -> None:
    manifests = [json.loads(path.read_text()) for path in pair[0].glob("*.json")]
    if how_many == "few":
        assert {(each["format"], bool(each["quantisation"])) for each in manifests} == {
            (format_, is_quantised) for format_ in FORMATS for is_quantised in (False, True)
        }
        return
    assert {(each["format"], each["precision"]) for each in manifests} == {
        (row.name, precision) for row in FORMATS.values() for precision in row.precisions
    }
    assert {each["model"].partition(":")[0] for each in manifests} == {"efficientvim_digits", "timm", "onnx"}
    assert any(each["functions"] for each in manifests)
    assert any((each["quantisation"] or {}).get("allowed_loss") == 0 for each in manifests)


def test_the_same_inputs_make_the_same_bytes(pair: tuple[Path, Path]) -> None:
    names = [sorted(path.name for path in folder.iterdir()) for folder in pair]
    assert names[0] == names[1]
    for one in artifacts_of(pair[0]):
        assert list(differences(one, pair[1] / one.name)) == [], one.name
    (golden,) = pair[0].glob("*.golden.safetensors")
    assert golden.read_bytes() == (pair[1] / golden.name).read_bytes()


def test_manifests_differ_in_the_figures_of_proofs_alone(pair: tuple[Path, Path]) -> None:
    for one in pair[0].glob("*.json"):
        documents = [json.loads((folder / one.name).read_text()) for folder in pair]
        assert embedded(documents[0]) == embedded(documents[1])


def test_no_file_has_the_user_host_or_date(root: Path, pair: tuple[Path, Path]) -> None:
    for condition, folder in zip(CONDITIONS, pair, strict=True):
        for path in folder.iterdir():
            assert words_in(path, condition.words(root)) == [], path


# --- that these tests can fail


def exported(folder: Path, format_: str, seed: int = 1, **options: Any) -> Path:
    request = Request(
        model=DIGITS, formats=(format_,), weights=f"random:{seed}", output_dir=folder, verify=False, **options
    )
    (artifact,) = export(request)
    return Path(artifact["path"])


@pytest.mark.parametrize("format_", FORMATS)
def test_other_weights_make_other_bytes(tmp_path: Path, format_: str) -> None:
    one, other = (exported(tmp_path / str(seed), format_, seed) for seed in (1, 2))
    assert list(differences(one, other))
    assert list(differences(one, one)) == []


def test_a_word_is_found_in_a_file_a_package_and_an_archive(tmp_path: Path) -> None:
    word = str(tmp_path).encode()
    file = tmp_path / "a.tflite"
    file.write_bytes(b"\0\1" + word + b"\2")
    package = tmp_path / "a.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "model.mlmodel").write_bytes(word)
    archive = tmp_path / "b.tflite"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("labels.txt", word * 9)
    for path in (file, package, archive):
        assert words_in(path, [b"elsewhere", word]) == [word]


def test_an_unsettled_package_of_coremltools_differs_and_has_the_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coreml_package, "make_deterministic", lambda path: None)
    monkeypatch.setattr(coreml_package, "_DATE", "of no key")
    one, other = (exported(tmp_path / name, "coreml") for name in "ab")
    assert "Manifest.json" in {each.file for each in differences(one, other)}
    key = b"com.github.apple.coremltools.conversion_date"
    assert words_in(one, [key]) == [key]
    monkeypatch.undo()
    assert words_in(exported(tmp_path / "c", "coreml"), [key]) == []


def test_a_package_names_its_items_by_their_paths(tmp_path: Path) -> None:
    package = exported(tmp_path, "coreml")
    manifest = json.loads((package / "Manifest.json").read_text())
    items = manifest["itemInfoEntries"]
    assert {each["path"] for each in items.values()} == {"com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"}
    assert items[manifest["rootModelIdentifier"]]["name"] == "model.mlmodel"
    assert read_spec(package).WhichOneof("Type") == "mlProgram"


def test_one_thread_is_for_what_is_inside_alone() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with torch_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
