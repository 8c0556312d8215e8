"""The images of a comparison: the standard ones, and those of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from evim_deploy.common.errors import BadInput
from evim_deploy.images import photographs
from evim_deploy.proof.outputs.inputs import images_in, standard_images

Array = npt.NDArray[np.float32]

STATED = [
    "astronaut",
    "cat",
    "coffee",
    "rocket",
    "noise 0",
    "noise 1",
    "black",
    "white",
    "red",
    "green",
    "blue",
    "tiny contrast",
]
SIZES = [(64, 64), (48, 80), (33, 64)]


@pytest.mark.parametrize("size", SIZES)
def test_the_stated_set_is_pixels_of_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    images = standard_images(*size)
    assert list(images) == STATED
    for image in images.values():
        assert (image.shape, image.dtype) == ((3, *size), np.float32)
        assert image.flags.c_contiguous
        assert 0 <= image.min() <= image.max() <= 255
        assert np.array_equal(image, image.round())


@pytest.mark.parametrize("size", SIZES)
def test_photographs_are_those_of_the_package(size: tuple[int, int]) -> None:
    images = standard_images(*size)
    for name in photographs.NAMES:
        assert np.array_equal(images[name], photographs.load(name, *size).transpose(2, 0, 1))
        assert images[name].std() > 20  # there is something on it


@pytest.mark.parametrize(
    ("name", "pixel"),
    [
        ("black", (0, 0, 0)),
        ("white", (255, 255, 255)),
        ("red", (255, 0, 0)),
        ("green", (0, 255, 0)),
        ("blue", (0, 0, 255)),
    ],
)
def test_colours_are_saturated_in_the_order_of_rgb(name: str, pixel: tuple[int, int, int]) -> None:
    image = standard_images(48, 80)[name]
    assert (image == np.array(pixel, dtype=np.float32).reshape(3, 1, 1)).all()


@pytest.mark.parametrize("name", ["noise 0", "noise 1"])
def test_noise_is_uniform(name: str) -> None:
    noise = standard_images(128, 96)[name]
    assert (noise.min(), noise.max()) == (0, 255)
    assert noise.mean() == pytest.approx(127.5, rel=0.02)
    assert noise.std() == pytest.approx(256 / np.sqrt(12), rel=0.02)
    channels = np.corrcoef(noise.reshape(3, -1))
    assert np.abs(channels - np.eye(3)).max() < 0.05  # each drawn by itself


def test_noise_is_seeded_and_there_are_two_of_it() -> None:
    first, again = standard_images(48, 80), standard_images(48, 80)
    assert all(np.array_equal(first[name], again[name]) for name in STATED)
    assert not np.array_equal(first["noise 0"], first["noise 1"])
    drawn = np.random.RandomState(1).randint(0, 256, (48, 80, 3))
    assert np.array_equal(first["noise 1"], drawn.transpose(2, 0, 1))


def test_tiny_contrast_is_a_photograph_within_two_levels_of_grey() -> None:
    images = standard_images(128, 128)
    tiny, photograph = images["tiny contrast"], images["astronaut"]
    assert set(np.unique(tiny)) == {126, 127, 128, 129, 130}
    assert np.corrcoef(tiny.ravel(), photograph.ravel())[0, 1] > 0.9
    assert tiny.std() < 2


@pytest.mark.parametrize(
    ("size", "names"),
    [
        ((1023, 1024), STATED),
        ((1024, 1024), ["astronaut", "noise 0", "white"]),
        ((512, 2048), ["astronaut", "noise 0", "white"]),
    ],
)
def test_of_a_large_size_there_are_three(size: tuple[int, int], names: list[str]) -> None:
    images = standard_images(*size)
    assert list(images) == names
    assert {image.shape for image in images.values()} == {(3, *size)}


# --- a folder of one's own ---------------------------------------------------------------------------------


def plain(path: Path, pixel: tuple[int, int, int], size: tuple[int, int] = (90, 60)) -> Path:
    """A picture of one colour; ``size`` is (width, height)."""
    Image.new("RGB", size, pixel).save(path)
    return path


def test_a_folder_gives_its_pictures_by_name_and_in_order(tmp_path: Path) -> None:
    plain(tmp_path / "b.png", (10, 20, 30))
    plain(tmp_path / "a.PNG", (40, 50, 60))
    plain(tmp_path / "c.jpeg", (128, 128, 128))
    (tmp_path / "notes.txt").write_text("not a picture")
    images = images_in(tmp_path, 48, 64)
    assert list(images) == ["a.PNG", "b.png", "c.jpeg"]
    assert {(image.shape, str(image.dtype)) for image in images.values()} == {((3, 48, 64), "float32")}
    assert images["b.png"][:, 7, 9].tolist() == [10, 20, 30]
    assert np.unique(images["c.jpeg"]).tolist() == [128]


def test_a_folders_pictures_are_cut_as_the_network_sees_them(tmp_path: Path) -> None:
    """An image of 2:1 whose left half is black: the centre crop has both halves."""
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[:, 64:] = 255
    Image.fromarray(pixels).save(tmp_path / "halves.png")
    (image,) = images_in(tmp_path, 32, 32).values()
    assert (image[:, :, 0] == 0).all()
    assert (image[:, :, -1] == 255).all()


def test_no_folder(tmp_path: Path) -> None:
    file = plain(tmp_path / "a.png", (1, 2, 3))
    for folder in (tmp_path / "none", file, tmp_path / ("x" * 300)):
        with pytest.raises(BadInput, match="cannot be read as a directory") as caught:
            images_in(folder, 32, 32)
        assert str(folder) in caught.value.cause
        assert "--inputs" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    with pytest.raises(BadInput, match="cannot be read as a directory"):
        images_in(tmp_path, 32, 32)
    tmp_path.chmod(0o700)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(BadInput, match=f"{tmp_path} has no images") as caught:
        images_in(tmp_path, 32, 32)
    assert ".png" in caught.value.remedy


def test_a_damaged_picture_is_named_and_not_left_out(tmp_path: Path) -> None:
    plain(tmp_path / "a.png", (1, 2, 3))
    intact = plain(tmp_path / "b.png", (1, 2, 3), (400, 300)).read_bytes()
    for content, said in ((intact[: len(intact) // 2], "is damaged"), (b"no picture", "is not an image")):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(BadInput, match=said) as caught:
            images_in(tmp_path, 32, 32)
        assert str(tmp_path / "b.png") in caught.value.cause


def test_a_folder_by_a_pictures_name_is_reported(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").mkdir()
    with pytest.raises(BadInput, match=r"holiday\.jpg is a directory"):
        images_in(tmp_path, 32, 32)


def test_a_picture_that_is_a_narrow_strip_is_refused(tmp_path: Path) -> None:
    plain(tmp_path / "strip.png", (1, 2, 3), (20_000, 1))
    with pytest.raises(BadInput, match="strip"):
        images_in(tmp_path, 1024, 1024)
