"""Calibration images: folders, files and images that ship; unreadable ones are skipped and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quantisation import SIDE

from evim_deploy.artifact.quantisation import Calibration
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import PAPER
from evim_deploy.quantise.calibration_images import DIGITS, RECOMMENDED, CalibrationImages, ShippedImages

NOISE = np.random.RandomState(0).randint(0, 256, (80, 90, 3))


def images_of(source: Path | ShippedImages, preprocess: bool = True) -> CalibrationImages:
    return CalibrationImages(source=source, height=SIDE, width=SIDE, preprocessing=PAPER, preprocess=preprocess)


def write(path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_a_folder_with_subfolders(tmp_path: Path) -> None:
    write(tmp_path / "a.png", NOISE)
    write(tmp_path / "deep" / "er" / "b.jpg", NOISE)
    images = images_of(tmp_path)
    assert [image.shape for image in images] == [(1, 3, SIDE, SIDE)] * 2
    assert images.calibration == Calibration(tmp_path.name, 2)


def test_a_single_file(tmp_path: Path) -> None:
    write(tmp_path / "a.png", NOISE)
    assert len(list(images_of(tmp_path / "a.png"))) == 1


def test_images_are_normalised_where_the_artifact_does_not_preprocess(tmp_path: Path) -> None:
    write(tmp_path / "a.png", NOISE)
    (image,) = images_of(tmp_path, preprocess=False)
    assert image.min() < 0


def test_unreadable_files_are_skipped_and_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png", NOISE)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    images = images_of(tmp_path)
    assert len(list(images)) == 1
    assert images.calibration.skipped == ("bad.jpg", "cut.png")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "has no images"),
        (lambda folder: (folder / "a.png").write_bytes(b""), "None of the 1 images"),
        (lambda folder: write(folder / "a.png", np.full((9, 9, 3), 7)), "is of one colour"),
    ],
)
def test_unusable_images_are_rejected(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path)
    with pytest.raises(BadInput, match=words):
        list(images_of(tmp_path))


def test_digits_has_its_own_images() -> None:
    images = images_of(DIGITS)
    assert len(images) == len(list(images)) == RECOMMENDED


def test_a_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Image not found"):
        list(images_of(tmp_path / "missing"))
