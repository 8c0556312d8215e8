"""TFLite metadata in MediaPipe Tasks: it opens our files and gives class names and the scores of LiteRT."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import pytest
from media_pipe import classify, import_mediapipe
from networks import tiny
from simulated import facts_of, reference_of, target_of

import exporters
import runtimes
from evim_deploy import __version__, formats
from evim_deploy.artifact.descriptions import describe_artifact
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.artifact.signature import Signature, TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.labels import imagenet_labels
from evim_deploy.catalog.variants import MODELS
from evim_deploy.images.photographs import load
from exporters.tflite import file as tflite_file
from exporters.tflite.metadata import LABELS_FILE, METADATA_NAME

HEIGHT, WIDTH = 64, 96
LABELS = imagenet_labels()
TOLERANCE = 1e-5  # both compute in LiteRT; the number of threads changes the order of sums

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """A photograph of the files' input size, (H, W, 3) uint8."""
    return load("cat", HEIGHT, WIDTH)


def classifier(**fields: Any) -> Target:
    target = target_of("tflite", output="probabilities", size=(HEIGHT, WIDTH), classes=len(LABELS))
    return replace(target, labels=LABELS, **fields)


FILES = {
    "fp32": classifier(),
    "fp16": classifier(precision="fp16"),
    "logits": classifier(output="logits"),
    "normalised": classifier(preprocess=False),
    "batch": classifier(batch=4),
    "features": target_of("tflite", output="features", size=(HEIGHT, WIDTH)),
}

CONTRACT = Signature(
    (TensorSpec(name="image", shape=(1, HEIGHT, WIDTH, 3), dtype="float32", layout="NHWC", range=(0.0, 255.0)),),
    (TensorSpec(name="probabilities", shape=(1, len(LABELS)), dtype="float32", layout="NC", range=(0.0, 1.0)),),
)
"""The signature of the fp32 file."""


def metadata_with(labels: tuple[str, ...]) -> dict[str, str]:
    return {METADATA_KEY: "{}", LABELS_KEY: json.dumps(labels)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    reference = reference_of(tiny(1), classes=len(LABELS))
    exporter = exporters.load(exporters.FORMATS["tflite"])
    paths = {name: folder / f"efficientvim_{name}.tflite" for name in FILES}
    for name, target in FILES.items():
        facts = facts_of(target, exporter.build(reference.stored_form(target), target, paths[name]))
        for model in (MODELS["efficientvim_m4"], facts.model):
            exporter.annotate(paths[name], metadata_with(target.labels), replace(facts, model=model))
    return paths


@pytest.fixture
def copy(files: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the fp32 classifier that the test may change."""
    path = tmp_path / files["fp32"].name
    path.write_bytes(files["fp32"].read_bytes())
    return path


def differences(path: Path, pixels: Pixels, target: Target) -> list[str]:
    """Parts of MediaPipe's result that differ from LiteRT's outputs with our labels."""
    with runtimes.open_artifact(path) as session:
        (expected,) = session.run(pixels.transpose(2, 0, 1)[None].astype(np.float32)).values()  # (1, 3, H, W)
    names, scores = zip(*classify(path, pixels), strict=True)
    found = [] if names == target.labels else ["names"]
    if not np.abs(np.array(scores) - expected[0]).max() < TOLERANCE * np.ptp(expected):
        found.append("scores")
    if target.labels[expected[0].argmax()] != names[np.argmax(scores)]:
        found.append("top-1")
    return found


@pytest.mark.parametrize("name", ["fp32", "fp16", "logits"])
def test_mediapipe_gives_the_names_and_scores_of_litert(files: dict[str, Path], pixels: Pixels, name: str) -> None:
    assert differences(files[name], pixels, FILES[name]) == []


@pytest.mark.parametrize(
    ("name", "told"), [("normalised", "Per-channel image normalization"), ("batch", "1 x height x width x depth")]
)
def test_mediapipe_rejects_inputs_that_it_does_not_support(
    files: dict[str, Path], pixels: Pixels, name: str, told: str
) -> None:
    """MediaPipe supports only a batch of one, and one mean and deviation for all channels."""
    import_mediapipe()
    with pytest.raises(Exception, match=told):
        classify(files[name], pixels)


def test_mediapipe_scores_depend_on_the_image(files: dict[str, Path], pixels: Pixels) -> None:
    """Scores of another image differ, so the comparison above does not pass on constant scores."""
    one, other = (
        np.array([score for _, score in classify(files["fp32"], each)]) for each in (pixels, pixels[::-1, ::-1])
    )
    assert np.abs(one - other).max() > 100 * TOLERANCE


def metadata_schema() -> Any:
    """MediaPipe's generated classes for the tables of the metadata."""
    import_mediapipe()
    from mediapipe.tasks.metadata import metadata_schema_py_generated

    return metadata_schema_py_generated


def metadata_of(path: Path) -> Any:
    model = tflite_file.parse(path.read_bytes())
    (entry,) = [each for each in model.metadata if each.name.decode() == METADATA_NAME]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return metadata_schema().ModelMetadataT.InitFromPackedBuf(content, 0)


def change_metadata(path: Path, change: Callable[[Any], None]) -> None:
    model, metadata, builder = tflite_file.parse(path.read_bytes()), metadata_of(path), flatbuffers.Builder()
    change(metadata)
    builder.Finish(metadata.Pack(builder), b"M001")
    tflite_file.put_metadata(model, METADATA_NAME, bytes(builder.Output()))
    tflite_file.write(path, model, tflite_file.read_files(path))


def change_labels(path: Path, labels: tuple[str, ...]) -> None:
    model = tflite_file.parse(path.read_bytes())
    tflite_file.write(path, model, {LABELS_FILE: "\n".join(labels).encode()})


def _shift_mean(metadata: Any) -> None:
    image = metadata.subgraphMetadata[0].inputTensorMetadata[0]
    image.processUnits[0].options.mean = np.array([10.0], np.float32)


def test_shifted_mean_is_detected(copy: Path, pixels: Pixels) -> None:
    change_metadata(copy, lambda metadata: None)
    assert differences(copy, pixels, FILES["fp32"]) == []
    change_metadata(copy, _shift_mean)
    assert "scores" in differences(copy, pixels, FILES["fp32"])


def test_labels_in_another_order_are_detected(copy: Path, pixels: Pixels) -> None:
    change_labels(copy, LABELS)
    assert differences(copy, pixels, FILES["fp32"]) == []
    change_labels(copy, (LABELS[-1], *LABELS[:-1]))
    assert differences(copy, pixels, FILES["fp32"]) == ["names", "top-1"]


def test_labels_with_special_characters_are_preserved(tmp_path: Path, pixels: Pixels) -> None:
    labels = ("Größe ✓", "a, b", "tab\tinside", "日本語", '"quoted"', "👩‍🔬", "no-break\u00a0space", "'", "\\n", "#")
    target = replace(classifier(), labels=labels)
    path = tmp_path / "odd.tflite"
    exporter = exporters.load(exporters.FORMATS["tflite"])
    contract = exporter.build(reference_of(tiny(1), classes=len(labels)).stored_form(target), target, path)
    exporter.annotate(path, metadata_with(labels), facts_of(target, contract))
    assert differences(path, pixels, target) == []


@pytest.mark.parametrize("name", FILES)
def test_metadata_describes_the_model_and_its_input(files: dict[str, Path], name: str) -> None:
    metadata, target = metadata_of(files[name]), FILES[name]
    assert metadata.name.decode() == f"efficientvim_{name}"
    assert target.precision in metadata.description.decode()
    assert metadata.author.decode() == f"evim-deploy {__version__}"
    assert metadata.version.decode() == f"{__version__}, weights {'0' * 12}"
    assert "MIT" in metadata.license.decode()
    (graph,) = metadata.subgraphMetadata
    (image,) = graph.inputTensorMetadata
    assert image.name == b"image"
    assert ("0-255" if target.preprocess else "Normalised") in image.description.decode()
    assert image.content.contentProperties.colorSpace == metadata_schema().ColorSpaceType.RGB
    (unit,) = image.processUnits
    if target.preprocess:
        assert (list(unit.options.mean), list(unit.options.std)) == ([0], [1])
        assert (list(image.stats.min), list(image.stats.max)) == ([0], [255])
    else:
        assert np.allclose(unit.options.mean, [123.675, 116.28, 103.53])
        assert np.allclose(unit.options.std, [58.395, 57.12, 57.375])


@pytest.mark.parametrize("name", FILES)
def test_each_output_has_its_name_and_description(files: dict[str, Path], name: str) -> None:
    """The order is that of the subgraph's outputs, because MediaPipe identifies outputs by index."""
    outputs = metadata_of(files[name]).subgraphMetadata[0].outputTensorMetadata
    model = tflite_file.parse(files[name].read_bytes())
    graph, (signature,) = model.subgraphs[0], model.signatureDefs
    named = {entry.tensorIndex: entry.name for entry in signature.outputs}
    assert [output.name for output in outputs] == [named[index] for index in graph.outputs]
    for output, index in zip(outputs, graph.outputs, strict=True):
        told = f"stride {output.name.decode()[-2:]}" if not FILES[name].labels else f"{len(LABELS)} classes"
        assert told in output.description.decode()
        assert graph.tensors[index].name == output.name
    if FILES[name].labels:
        ((labels,),) = [output.associatedFiles for output in outputs]
        assert labels.name.decode() == LABELS_FILE
        assert labels.type == metadata_schema().AssociatedFileType.TENSOR_AXIS_LABELS
    else:
        assert [output.name for output in outputs] == [b"stride16", b"stride32", b"stride64"]
        assert [output.associatedFiles for output in outputs] == [None] * 3
        assert not zipfile.is_zipfile(files[name])


def test_annotating_twice_gives_the_same_file(copy: Path) -> None:
    """The labels after the flatbuffer are replaced, not appended again."""
    before = copy.read_bytes()
    exporter = exporters.load(exporters.FORMATS["tflite"])
    exporter.annotate(copy, metadata_with(LABELS), facts_of(FILES["fp32"], CONTRACT))
    assert copy.read_bytes() == before
    with zipfile.ZipFile(copy) as archive:
        assert archive.namelist() == [LABELS_FILE]
        assert archive.read(LABELS_FILE).decode().splitlines() == list(LABELS)


@pytest.mark.parametrize("name", FILES)
def test_other_readers_find_description_and_metadata(files: dict[str, Path], name: str) -> None:
    found = formats.read(files[name])
    assert found.description == describe_artifact(facts_of(FILES[name], CONTRACT)).description
    assert found.metadata[METADATA_KEY] == "{}"
    assert json.loads(found.metadata[LABELS_KEY]) == list(FILES[name].labels)
    assert found.metadata[METADATA_NAME].endswith(" bytes")


@pytest.mark.parametrize("damage", [b"", b"M001", b"\xff" * 900, b"\0" * 900])
def test_file_with_damaged_metadata_opens_and_runs(copy: Path, pixels: Pixels, damage: bytes) -> None:
    with runtimes.open_artifact(copy) as session:
        expected = session.run(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    model = tflite_file.parse(copy.read_bytes())
    tflite_file.put_metadata(model, METADATA_NAME, damage)
    tflite_file.write(copy, model, {})
    copy.write_bytes(copy.read_bytes() + b"PK\x05\x06" + b"\xff" * 18)  # in the position of the labels
    assert METADATA_KEY in formats.read(copy).metadata
    with runtimes.open_artifact(copy) as session:
        found = session.run(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    assert np.array_equal(found["probabilities"], expected["probabilities"])
