"""What an artifact says of itself is read as it was written, and refused where it is damaged."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evim_deploy.artifact.info import ArtifactInfo, Structure
from evim_deploy.artifact.manifest import ManifestDocument, embedded
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.reading import Manifest, check_beside, embedded_manifest
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import PAPER

M1 = MODELS["efficientvim_m1"]
WEIGHTS = Weights("random:7", False, "cd" * 32, "the hub does not answer")
TARGET = Target(
    format="onnx",
    precision="fp16",
    height=64,
    width=96,
    batch=2,
    task="classify",
    output="logits",
    preprocess=True,
    labels=("cat", "Größe", "zebra"),
)
FEATURES = replace(TARGET, task="features", output="features", labels=())
ARTIFACT = Path("some/artifact.onnx")


def document_of(target: Target = TARGET) -> dict[str, Any]:
    contract = Signature(
        (TensorSpec(name="image", shape=(2, 3, 64, 96), dtype="float32", layout="NCHW", range=(0.0, 255.0)),), ()
    )
    structure = Structure.of(Counter({"Conv": 3}))
    info = ArtifactInfo(
        model=M1,
        target=target,
        weights=WEIGHTS,
        preprocessing=PAPER,
        signature=contract,
        structure=structure,
        parity=Parity.not_run("no reason"),
        rewrites=(),
        tools={},
    )
    return dict(json.loads(json.dumps(ManifestDocument.of(info).to_dict())))


def metadata_of(document: object, labels: object = TARGET.labels) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(document), LABELS_KEY: json.dumps(labels), "others": "of no concern"}


def read(document: object, labels: object = TARGET.labels) -> Manifest:
    return embedded_manifest(metadata_of(document, labels), ARTIFACT)


# --- in the artifact's own metadata ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        TARGET,
        replace(TARGET, batch=None),
        replace(TARGET, height=None, width=None, precision="fp32"),
        replace(TARGET, format="coreml", output="probabilities", preprocess=False, batch=1),
        FEATURES,
    ],
)
def test_what_was_written_is_read(target: Target) -> None:
    document = document_of(target)
    manifest = read(document, target.labels)
    assert manifest.model is M1
    assert manifest.target == target
    assert manifest.weights == WEIGHTS
    assert manifest.num_classes == (3 if target.labels else None)
    assert manifest.document == document


def test_features_need_no_labels_in_the_metadata() -> None:
    metadata = {METADATA_KEY: json.dumps(document_of(FEATURES))}
    assert embedded_manifest(metadata, ARTIFACT).target == FEATURES


def test_version_1_says_the_same() -> None:
    """In it the parity was told otherwise, which nothing reads, and no hash of the labels."""
    document = {**document_of(), "schema_version": 1, "parity": {"status": "pass", "max_abs": 0}}
    del document["labels_sha256"]
    assert read(document).target == TARGET


def test_a_manifest_without_a_crop_mode_means_the_centre() -> None:
    document = document_of()
    squashed = {**document["preprocessing"], "crop_mode": "squash"}
    del document["preprocessing"]["crop_mode"]
    assert read(document).preprocessing == PAPER
    assert read({**document, "preprocessing": squashed}).preprocessing.crop_mode == "squash"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, None]),
        ("std", [0.2, 0.2, 0]),
        ("std", [0.2, 0.2, -0.2]),
        ("crop_fraction", 0),
        ("crop_fraction", 5),
        ("crop_fraction", True),
        ("interpolation", "random"),
        ("crop_mode", "none"),
        ("crop_mode", None),
        ("assumed", "no"),
    ],
)
def test_a_preprocessing_that_cannot_be(key: str, value: object) -> None:
    document = document_of()
    assert_damaged(metadata_of({**document, "preprocessing": {**document["preprocessing"], key: value}}))


def test_a_crop_fraction_above_1_adds_a_border() -> None:
    """As timm evaluates six networks."""
    document = document_of()
    document["preprocessing"]["crop_fraction"] = 1.15
    assert read(document).preprocessing.crop_fraction == 1.15


def test_a_model_to_come_is_named() -> None:
    with pytest.raises(BadInput, match=r"efficientvim_m9, which this evim-deploy does not know"):
        read({**document_of(), "model": "efficientvim_m9"})


def test_other_labels_than_were_exported_are_refused() -> None:
    assert_damaged(metadata_of(document_of(), TARGET.labels[::-1]))


@pytest.mark.parametrize("version", [0, 3, 99, None, "two"])
def test_a_version_to_come_is_named(version: object) -> None:
    with pytest.raises(BadInput, match=rf"metadata of version {version};.*up to 2") as caught:
        read({**document_of(), "schema_version": version})
    assert str(ARTIFACT) in caught.value.cause


@pytest.mark.parametrize("metadata", [{}, {"others": "of no concern"}, {LABELS_KEY: '["a"]'}])
def test_a_file_of_someone_else_is_told_as_such(metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="was not made by evim-deploy") as caught:
        embedded_manifest(metadata, ARTIFACT)
    assert str(ARTIFACT) in caught.value.cause
    assert "evim-deploy export" in caught.value.remedy


def assert_damaged(metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="its metadata cannot be read") as caught:
        embedded_manifest(metadata, ARTIFACT)
    assert str(ARTIFACT) in caught.value.cause
    assert "\n" not in caught.value.cause


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", '"text"', "{}", "[" * 100_000, "\udcff", '{"a": 1} b'],
)
def test_a_text_that_is_no_manifest(text: str) -> None:
    assert_damaged({METADATA_KEY: text, LABELS_KEY: "[]"})


@pytest.mark.parametrize(
    "key",
    [
        "schema_version",
        "model",
        "format",
        "precision",
        "task",
        "output",
        "resolution",
        "batch",
        "preprocess",
        "num_classes",
        "weights",
    ],
)
def test_a_field_that_is_missing(key: str) -> None:
    document = document_of()
    del document[key]
    assert_damaged(metadata_of(document))


@pytest.mark.parametrize("key", ["source", "trained", "sha256", "note"])
def test_a_field_of_the_weights_that_is_missing(key: str) -> None:
    document = document_of()
    del document["weights"][key]
    assert_damaged(metadata_of(document))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", None),
        ("model", ["efficientvim_m1"]),
        ("format", "pdf"),
        ("format", ["onnx"]),
        ("precision", "fp64"),
        ("precision", None),
        ("task", "segment"),
        ("task", "features"),  # whose output is none of a classifier
        ("output", "logit"),
        ("output", "features"),
        ("resolution", "big"),
        ("resolution", [64]),
        ("resolution", [64, 64, 64]),
        ("resolution", [64, 0]),
        ("resolution", [64, -64]),
        ("resolution", [64, 64.5]),
        ("resolution", [64, "64"]),
        ("resolution", [64, None]),
        ("resolution", [True, True]),
        ("resolution", None),
        ("resolution", 64),
        ("batch", 0),
        ("batch", -1),
        ("batch", "two"),
        ("batch", 1.5),
        ("batch", True),
        ("batch", None),
        ("preprocess", "yes"),
        ("preprocess", None),
        ("num_classes", 0),
        ("num_classes", 2),
        ("num_classes", None),
        ("num_classes", "3"),
        ("weights", None),
        ("weights", []),
        ("weights", {**vars(WEIGHTS), "source": None}),
        ("weights", {**vars(WEIGHTS), "source": 7}),
        ("weights", {**vars(WEIGHTS), "sha256": 7}),
        ("weights", {**vars(WEIGHTS), "trained": "no"}),
    ],
)
def test_a_field_that_cannot_be(key: str, value: object) -> None:
    assert_damaged(metadata_of({**document_of(), key: value}))


@pytest.mark.parametrize("labels", [None, {}, "cat", ["cat"], ["cat", "dog", "zebra", "yak"], 3, [1, 2, 3]])
def test_labels_that_cannot_be(labels: object) -> None:
    assert_damaged(metadata_of(document_of(), labels))


def test_labels_that_are_missing() -> None:
    assert_damaged({METADATA_KEY: json.dumps(document_of())})


# --- beside the artifact ---------------------------------------------------------------------------------


def beside(folder: Path, content: object) -> Path:
    """The artifact's path, with its manifest written beside."""
    path = folder / "artifact.onnx"
    manifest = path.with_name("artifact.onnx.json")
    if isinstance(content, bytes):
        manifest.write_bytes(content)
    else:
        manifest.write_text(json.dumps(content))
    return path


OF_THE_FILE = {"artifact": "artifact.onnx", "size_bytes": 123, "sha256": "ef" * 32}


def test_none_beside_is_fine(tmp_path: Path) -> None:
    assert check_beside(read(document_of()), tmp_path / "artifact.onnx") is None


def test_the_one_beside_gives_the_files_hash(tmp_path: Path) -> None:
    document = document_of()
    assert check_beside(read(document), beside(tmp_path, {**OF_THE_FILE, **document})) == "ef" * 32


def test_an_artifact_may_have_been_renamed(tmp_path: Path) -> None:
    document = document_of()
    path = beside(tmp_path, {**OF_THE_FILE, **document, "artifact": "by another name"})
    assert check_beside(read(document), path) == "ef" * 32


def test_the_figures_of_a_proof_stand_beside_alone(tmp_path: Path) -> None:
    """They depend on the host, as the reason why there are no trained weights does; its status is inside, too."""
    document = document_of()
    full = {**document, "parity": {**document["parity"], "reason": "of this host", "power": {"smallest": 0.1}}}
    for inside in (embedded(full), full):  # and older artifacts have all of it
        assert check_beside(read(inside), beside(tmp_path, {**OF_THE_FILE, **full})) == "ef" * 32


@pytest.mark.parametrize(("trained", "note"), [(False, ""), (True, "of the file")])
def test_the_note_of_trained_weights_alone_is_inside(trained: bool, note: str) -> None:
    document = {**document_of(), "weights": {**vars(WEIGHTS), "trained": trained, "note": "of the file"}}
    assert embedded(document)["weights"]["note"] == note


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "efficientvim_m4"),
        ("precision", "fp32"),
        ("batch", 1),
        ("weights", {**vars(WEIGHTS), "sha256": "00" * 32}),
        ("parity", {"status": "pass"}),
        ("something", "else"),
    ],
)
def test_one_that_says_something_else_is_named_with_what_it_says(tmp_path: Path, key: str, value: object) -> None:
    document = document_of()
    path = beside(tmp_path, {**OF_THE_FILE, **document, key: value})
    with pytest.raises(BadInput, match=f"contradicts the artifact in {key}") as caught:
        check_beside(read(document), path)
    assert "artifact.onnx.json" in caught.value.cause
    assert "Remove it" in caught.value.remedy


def test_one_that_lacks_something_contradicts_too(tmp_path: Path) -> None:
    document = document_of()
    shorter = {key: value for key, value in document.items() if key not in ("tools", "batch")}
    with pytest.raises(BadInput, match="contradicts the artifact in batch, tools"):
        check_beside(read(document), beside(tmp_path, {**OF_THE_FILE, **shorter}))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b"[" * 100_000, b'{"sha256": "ef"', {}, {"artifact": "x"}],
)
def test_one_that_is_damaged(tmp_path: Path, content: object) -> None:
    with pytest.raises(BadInput, match=r"artifact\.onnx\.json is damaged") as caught:
        check_beside(read(document_of()), beside(tmp_path, content))
    assert "Remove it" in caught.value.remedy
    assert "\n" not in caught.value.cause


@pytest.mark.parametrize("digest", [None, 7, ["ef"]])
def test_a_hash_that_is_none(tmp_path: Path, digest: object) -> None:
    document = document_of()
    with pytest.raises(BadInput, match="contradicts the artifact in sha256"):
        check_beside(read(document), beside(tmp_path, {**OF_THE_FILE, **document, "sha256": digest}))


def test_a_folder_in_its_place_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "artifact.onnx.json").mkdir()
    assert check_beside(read(document_of()), tmp_path / "artifact.onnx") is None
