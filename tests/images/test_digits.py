"""The model that ships: its files come from the training, and it classifies new pictures in every format."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evim_deploy.catalog.variants import DIGITS, ModelName, parse_model
from evim_deploy.commands.export import export
from evim_deploy.commands.predict import predict
from evim_deploy.commands.request import Request
from evim_deploy.commands.verify import Verifier
from evim_deploy.common.errors import BadInput
from evim_deploy.images import digits
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.seeded import untrained_model
from evim_deploy.networks.efficientvim.weights import Weights, default_source, resolve
from evim_deploy.networks.seeding import state_sha256
from exporters import FORMATS
from training.digits import split
from training.fit import accuracy, as_an_app_feeds_it

LEAST = 0.98
MODEL = parse_model("digits")


def loaded(spec: str | None = None, num_classes: int | None = None) -> tuple[EfficientViM, Weights]:
    return resolve(MODEL, spec, num_classes, lambda _: None)


# --- its files


def test_the_weights_are_those_that_the_code_names() -> None:
    with digits.weights_file() as path:
        content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == digits.SHA256
    assert len(content) < 2e6


def test_the_pictures_are_scikit_learns_in_the_scripts_split() -> None:
    expected = split()
    path = Path(digits.__file__).parents[1] / "data" / "digits" / digits.PICTURES_FILE
    with np.load(path) as found:
        assert set(found) == set(expected)
        assert all((found[name] == values).all() for name, values in expected.items())


def test_no_picture_that_was_held_out_was_seen() -> None:
    parts = split()
    seen, held_out = ({each.tobytes() for each in parts[f"{part}_cells"]} for part in ("training", "held_out"))
    assert (len(seen), len(held_out)) == (1197, 600)
    assert not seen & held_out


def test_the_split_is_stratified() -> None:
    assert np.ptp(np.bincount(digits.held_out()[1])) <= 4
    assert len(digits.training()[1]) == 1197


def test_a_picture_is_black_ink_on_white_paper() -> None:
    cells = np.zeros((8, 8), np.uint8)
    cells[:, 4] = digits.FULL_INK
    picture = digits.picture(cells)
    assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
    assert picture[32, 35].tolist() == [0, 0, 0]
    assert picture[32, 10].tolist() == [255, 255, 255]


def test_the_crop_takes_the_margin_and_no_ink() -> None:
    """Cells that are all ink give an input that is all ink."""
    (seen,) = as_an_app_feeds_it(digits.picture(np.full((8, 8), digits.FULL_INK, np.uint8))[None])
    assert seen[2:-2, 2:-2].max() < 16


# --- what it can do


def test_it_reads_pictures_that_it_never_saw() -> None:
    model, weights = loaded()
    pictures, labels = digits.held_out()
    assert weights == Weights("package:digits", True, digits.SHA256)
    assert accuracy(model, as_an_app_feeds_it(pictures), labels) >= LEAST
    assert accuracy(model, pictures, labels) >= LEAST  # uncropped
    assert accuracy(model, 255 - pictures, labels) >= LEAST  # white on black


def test_the_accuracy_sees_wrong_labels_and_a_wrong_weight() -> None:
    model, _ = loaded()
    pictures, labels = digits.held_out()
    assert accuracy(model, pictures, np.random.default_rng(0).permutation(labels)) < 0.2
    model.stages[1].blocks[0].mixer.out_proj.conv.weight.data.mul_(-4)
    assert accuracy(model, pictures, labels) < LEAST


def test_its_statistics_are_those_of_its_batches() -> None:
    """In training mode, which takes each batch's own, it reads as well."""
    model, _ = loaded()
    pictures, labels = digits.held_out()
    assert accuracy(model.train(), as_an_app_feeds_it(pictures), labels) >= LEAST


# --- which weights it gets


def test_its_own_weights_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (default_source(MODEL), default_source(parse_model("m4"))) == (
        "package:digits",
        "timm/efficientvim_m4.e450_in1k",
    )
    assert state_sha256(loaded()[0]) == state_sha256(loaded(digits.SOURCE)[0])
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    for spec in (None, digits.SOURCE):
        with pytest.raises(BadInput, match="not the file that ships") as caught:
            loaded(spec)
        assert "--weights PATH" in caught.value.remedy
    monkeypatch.setattr(digits, "WEIGHTS_FILE", "none")
    with pytest.raises(BadInput, match="is missing"):
        loaded()


def test_they_are_no_other_model_s() -> None:
    with pytest.raises(BadInput, match="holds efficientvim_digits, not efficientvim_m1"):
        resolve(parse_model("m1"), digits.SOURCE, None, lambda _: None)


def test_it_takes_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save(untrained_model(MODEL, 7, 1).state_dict(), path)
    model, weights = loaded(str(path))
    assert (model.num_classes, weights.source, weights.trained) == (7, path.name, True)


def test_other_classes_leave_it_untrained() -> None:
    model, weights = loaded(num_classes=7)
    assert (model.num_classes, weights.trained) == (7, False)
    assert weights.note == "The weights of package:digits have 10 classes, not 7."
    assert loaded("random")[0].num_classes == 10


# --- as artifacts


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("digits")
    return [
        Path(made["path"])
        for made in export(Request(model=ModelName(DIGITS), formats=tuple(FORMATS), output_dir=folder))
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A picture of each digit."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures, labels = digits.held_out()
    for digit in range(10):
        Image.fromarray(pictures[int(np.argmax(labels == digit))]).save(folder / f"{digit}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("format_", FORMATS)
def test_predictions_are_right_and_by_name(format_: str, artifacts: list[Path], files: list[Path]) -> None:
    (path,) = [path for path in artifacts if path.suffix == FORMATS[format_].suffix]
    report = predict(path, files, 2)
    assert [each.top[0].label for each in report.predictions] == [each.stem for each in files]
    assert min(each.top[0].probability for each in report.predictions) > 0.5
    assert report.manifest["weights"]["source"] == "package:digits"
    assert report.manifest["parity"]["status"] == "pass"


def test_an_artifact_is_proven_by_the_weights_that_ship(artifacts: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = [path for path in artifacts if path.suffix == ".onnx"]
    assert path.name == "efficientvim_digits_64x64_fp32.onnx"
    assert Verifier().check(path).problem is None
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    problem = Verifier().check(path).problem
    assert problem is not None
    assert "cannot be opened" in problem.cause
