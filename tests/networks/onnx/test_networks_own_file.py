"""An ONNX file that this project exported, as the source of other artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx2tf_here import needs_onnx2tf

import runtimes
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.catalog.network_name import NetworkName
from evim_deploy.catalog.variants import parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput, UsageProblem
from evim_deploy.common.numerics import softmax
from evim_deploy.images import digits
from evim_deploy.images.preprocessing import PAPER, normalise, without_normalisation
from evim_deploy.networks.open import parse_source
from evim_deploy.networks.protocols import Array
from evim_deploy.proof.outputs import inputs

SIDE = 64


def made(folder: Path, **options: Any) -> Path:
    (artifact,) = export(
        Request(model=parse_model("digits"), formats=("onnx",), output_dir=folder, verify=False, **options)
    )
    return Path(artifact["path"])


def again(source: Path, folder: Path, format_: str = "onnx", **options: Any) -> dict[str, Any]:
    (artifact,) = export(Request(model=parse_source(str(source)), formats=(format_,), output_dir=folder, **options))
    return artifact


def pixels() -> Array:
    return np.stack(list(inputs.standard_images(SIDE, SIDE).values()))


def answers(path: Path, images: Array) -> Array:
    """The outputs of an ONNX file in ONNX Runtime."""
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize("format_", ["onnx", "coreml", pytest.param("tflite", marks=[pytest.mark.slow, needs_onnx2tf])])
def test_it_says_what_its_images_and_classes_are(source: Path, tmp_path: Path, format_: str) -> None:
    artifact = again(source, tmp_path, format_, output="logits")
    assert artifact["parity"]["status"] == ParityStatus.PASS
    assert artifact["preprocess"]
    assert artifact["inputs"][0]["range"] == (0.0, 255.0)
    assert artifact["weights"]["trained"]
    path = Path(artifact["path"])
    with runtimes.open_artifact(path, mode="fp32") as session:
        found = np.concatenate([session.run(image[None])["logits"] for image in pixels()])
    expected = answers(source, pixels())
    allowed = 3e-5 if artifact["precision"] == "fp32" else 5e-3
    assert np.abs(found - expected).max() < allowed * np.ptp(expected)
    assert np.abs(found[::-1] - expected).max() > 0.1 * np.ptp(expected)  # a negative control
    verdict = Verifier(weights=str(source)).verify(path)
    assert verdict.parity.status == ParityStatus.PASS
    assert verdict.manifest.target.labels == digits.CLASSES


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"output": "probabilities"}, (SIDE, SIDE)),
        ({"preprocess": False}, (SIDE, SIDE)),
        ({"batch": None, "sizes": (None,), "opset": 13}, (SIDE, SIDE)),
    ],
)
def test_however_it_was_exported(tmp_path: Path, options: dict[str, Any], size: tuple[int, int]) -> None:
    source = made(tmp_path / "source", **options)
    artifact = again(source, tmp_path / "again", output="probabilities")
    assert (artifact["parity"]["status"], artifact["resolution"]) == (ParityStatus.PASS, list(size))
    assert artifact["preprocess"]
    fed = pixels() if options.get("preprocess", True) else normalise(pixels(), PAPER)
    expected = answers(source, fed)
    expected = expected if options.get("output") == "probabilities" else softmax(expected)
    assert np.abs(answers(Path(artifact["path"]), pixels()) - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "cause", "remedy"),
    [
        ({"precisions": ("fp16",)}, "is in half precision", "package:digits"),
        ({"precisions": ("fp16",), "half_io": True}, "is in half precision", "package:digits"),
        ({"batch": 4}, "is a batch of 4 images", "Export it with a batch of 1"),
        ({"task": "features"}, "dense features as outputs", "--task classify"),
    ],
)
def test_what_cannot_be_a_source_is_named(tmp_path: Path, options: dict[str, Any], cause: str, remedy: str) -> None:
    source = made(tmp_path, **options)
    with pytest.raises(BadInput, match=cause) as caught:
        parse_source(str(source))
    assert remedy in caught.value.remedy


def test_it_is_not_told_another_normalisation(source: Path) -> None:
    with pytest.raises(UsageProblem, match="has a normalisation of its own"):
        parse_source(str(source), PAPER)


def test_a_file_whose_ports_were_changed_is_anybodys(source: Path, tmp_path: Path) -> None:
    model = onnx.load(source)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "changed"
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    name = parse_source(str(path))
    assert isinstance(name, NetworkName)
    assert (name.preprocessing, name.labels) == (None, ())
    assert parse_source(str(source)).labels == digits.CLASSES


def test_untrained_weights_stay_so(tmp_path: Path) -> None:
    (first,) = export(
        Request(model=parse_model("digits"), formats=("onnx",), weights="random", output_dir=tmp_path, verify=False)
    )
    artifact = again(Path(first["path"]), tmp_path / "again")
    assert not artifact["weights"]["trained"]
    assert Path(artifact["path"]).name.count("UNTRAINED") == 1


def test_pixels_as_they_are() -> None:
    how = without_normalisation(PAPER)
    assert how.keeps_pixels
    assert not PAPER.keeps_pixels
    assert (how.crop_fraction, how.interpolation) == (PAPER.crop_fraction, PAPER.interpolation)
    np.testing.assert_array_equal(normalise(pixels(), how), pixels())
