"""From a picture to pixels, by cases worked out by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evim_deploy.common.errors import BadInput
from evim_deploy.images import photographs
from evim_deploy.images.preprocessing import (
    MEAN,
    PAPER,
    STD,
    Placement,
    Preprocessing,
    normalise,
    open_image,
    place,
    resize_and_crop,
)

# --- geometry ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("picture", "size", "resized", "box"),
    [
        # (width, height) of the picture, (height, width) wanted, (width, height) between, the cut
        ((256, 256), (224, 224), (256, 256), (16, 16, 240, 240)),
        ((512, 512), (224, 224), (256, 256), (16, 16, 240, 240)),
        ((512, 256), (224, 224), (512, 256), (144, 16, 368, 240)),
        ((256, 512), (224, 224), (256, 512), (16, 144, 240, 368)),
        ((100, 100), (224, 224), (256, 256), (16, 16, 240, 240)),  # a small one is enlarged
        ((320, 240), (224, 224), (341, 256), (58, 16, 282, 240)),  # 341.33; (341 - 224) / 2 = 58.5 to the even 58
        ((1000, 1000), (256, 256), (292, 292), (18, 18, 274, 274)),  # 292.57 rounded down
        ((512, 512), (192, 320), (365, 365), (22, 86, 342, 278)),  # covers 320 / 0.875 = 365.7
        ((512, 512), (320, 192), (365, 365), (86, 22, 278, 342)),
        ((1024, 512), (224, 448), (512, 256), (32, 16, 480, 240)),  # the same shape: both sides fit
        ((2000, 10), (32, 32), (7200, 36), (3584, 2, 3616, 34)),
        ((1, 1), (32, 32), (36, 36), (2, 2, 34, 34)),
        ((640, 427), (224, 224), (383, 256), (80, 16, 304, 240)),  # 383.70 is cut off, not rounded; 79.5 to the even 80
        ((427, 640), (224, 224), (256, 383), (16, 80, 240, 304)),
        ((150, 90), (224, 224), (426, 256), (101, 16, 325, 240)),  # 426.67
    ],
)
def test_where_the_centre_is_cut(
    picture: tuple[int, int], size: tuple[int, int], resized: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    placed = place(picture[::-1], size)
    left, top, right, bottom = box
    assert placed == Placement(resized[::-1], top, left)
    assert (bottom - top, right - left) == size


def test_the_crop_fraction_is_the_papers() -> None:
    assert PAPER.crop_fraction == 0.875


@pytest.mark.parametrize("size", [(224, 224), (192, 320), (32, 4096), (33, 47)])
@pytest.mark.parametrize("picture", [(640, 480), (31, 57), (20, 10)])
def test_the_result_has_the_size_wanted(picture: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = resize_and_crop(Image.new("RGB", picture, (10, 20, 30)), *size)
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (10, 20, 30)).all()


@pytest.mark.parametrize("picture", [(1, 20_000), (20_000, 1), (8, 8_000)])
def test_a_strip_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, picture: tuple[int, int]) -> None:
    """Covering 1024 pixels with one makes the other side a thousand times as long: refuse it, or cut first."""
    resize = Image.Image.resize

    def small(self: Image.Image, size: tuple[int, int], *args: Any, **options: Any) -> Image.Image:
        assert size[0] * size[1] < 1 << 28, f"{size[0]} x {size[1]} pixels"
        return resize(self, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", small)
    try:
        pixels = resize_and_crop(Image.new("RGB", picture, (10, 20, 30)), 1024, 1024)
    except BadInput:
        return
    assert (pixels == (10, 20, 30)).all()


@pytest.mark.parametrize(
    ("mode", "picture", "side", "fraction", "resized", "offset"),
    [
        # height and width of the picture, side wanted, its fraction; height and width between, top and left
        ("squash", (90, 150), 96, 1.0, (96, 96), (0, 0)),
        ("squash", (90, 150), 96, 0.9, (106, 106), (5, 5)),
        ("squash", (90, 150), 96, 1.15, (83, 83), (-6, -6)),  # of 13 rows too few the greater half lies below
        ("border", (90, 150), 96, 1.0, (58, 96), (-19, 0)),  # 90 * 96 / 150 = 57.6
        ("border", (150, 90), 96, 0.8, (120, 72), (12, -12)),
        ("center", (90, 150), 96, 1.15, (83, 138), (-6, 21)),
    ],
)
def test_where_an_image_lies_in_each_crop_mode(
    mode: str, picture: tuple[int, int], side: int, fraction: float, resized: tuple[int, int], offset: tuple[int, int]
) -> None:
    placed = place(
        picture,
        (side, side),
        Preprocessing(mean=MEAN, std=STD, crop_fraction=fraction, interpolation="bicubic", crop_mode=mode),
    )
    assert placed == Placement(resized, *offset)


def test_what_lies_around_the_image_is_black_or_the_mean() -> None:
    white = Image.new("RGB", (40, 20), WHITE)
    how = Preprocessing(mean=(0.5, 0.25, 0.1), std=STD, crop_fraction=1.0, interpolation="bicubic", crop_mode="border")
    bordered = resize_and_crop(white, 40, 40, how)
    assert (bordered[10:30] == 255).all()
    assert (np.concatenate([bordered[:10], bordered[30:]]) == (128, 64, 26)).all()  # 127.5, 63.75 and 25.5
    padded = resize_and_crop(
        white, 40, 40, Preprocessing(mean=MEAN, std=STD, crop_fraction=2.0, interpolation="bicubic")
    )
    assert (padded[10:30] == 255).all()
    assert (np.concatenate([padded[:10], padded[30:]]) == 0).all()


def test_a_strip_of_which_nothing_would_be_left_is_refused() -> None:
    border = Preprocessing(mean=MEAN, std=STD, crop_fraction=1, interpolation="bicubic", crop_mode="border")
    with pytest.raises(BadInput, match="too narrow a strip"):
        resize_and_crop(Image.new("RGB", (1, 3000)), 224, 224, border)


def test_the_centre_stays_in_the_centre() -> None:
    """A red dot in the middle of a wide picture, blue at its ends."""
    array = np.zeros((200, 400, 3), np.uint8)
    array[:, :80] = array[:, -80:] = (0, 0, 255)
    array[90:110, 190:210] = (255, 0, 0)
    pixels = resize_and_crop(Image.fromarray(array), 224, 224)
    assert (pixels[112, 112] > (250, -1, -1)).all()
    assert pixels[..., 2].max() < 5
    assert np.array_equal(pixels, pixels[:, ::-1])
    assert np.array_equal(pixels, pixels[::-1])


def test_a_photograph_at_its_own_size_is_untouched() -> None:
    assert photographs.load("cat").shape == (256, 256, 3)
    assert photographs.load("cat", 224, 320).shape == (224, 320, 3)


# --- normalisation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalise(dtype: type) -> None:
    pixels: Any = np.zeros((2, 3, 1, 2), dtype)
    pixels[..., 1] = 255
    found = normalise(pixels)
    assert found.dtype == dtype
    expected = [[-m / s, (1 - m) / s] for m, s in zip(MEAN, STD, strict=True)]
    assert np.allclose(found[:, :, 0], [expected, expected], rtol=1e-6)


def test_imagenets_mean_and_deviation() -> None:
    assert (MEAN, STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# --- opening -----------------------------------------------------------------------------------------------

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """30 wide and 20 high: red and green above, blue and white below."""
    array = np.zeros((20, 30, 3), np.uint8)
    array[:10, :15], array[:10, 15:], array[10:, :15], array[10:, 15:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(array)


@pytest.mark.parametrize(
    ("orientation", "first", "size"),
    [
        (1, RED, (30, 20)),
        (2, GREEN, (30, 20)),
        (3, WHITE, (30, 20)),
        (4, BLUE, (30, 20)),
        (5, RED, (20, 30)),
        (6, BLUE, (20, 30)),  # a phone held upright: turned by a quarter to the right
        (7, WHITE, (20, 30)),
        (8, GREEN, (20, 30)),
    ],
)
def test_a_picture_is_turned_as_its_camera_says(
    tmp_path: Path, orientation: int, first: tuple[int, int, int], size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    corners().save(path, exif=exif)
    image = open_image(path)
    assert (image.size, image.mode) == (size, "RGB")
    assert image.getpixel((0, 0)) == first


def test_a_jpeg_is_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    corners().save(tmp_path / "turned.jpg", exif=exif, quality=100, subsampling=0)
    image = open_image(tmp_path / "turned.jpg")
    assert image.size == (20, 30)
    assert np.abs(np.array(image.getpixel((4, 4))) - BLUE).max() < 10


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 200, 30), (10, 200, 30)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    tmp_path: Path, mode: str, colour: tuple[int, ...] | int, expected: tuple[int, int, int]
) -> None:
    path = tmp_path / "picture.png"
    Image.new(mode, (8, 6), colour).save(path)
    image = open_image(path)
    assert (image.mode, image.size, image.getpixel((3, 3))) == ("RGB", (8, 6), expected)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    picture = corners().quantize(4)
    assert picture.mode == "P"
    picture.save(tmp_path / "palette.png")
    assert np.array_equal(np.asarray(open_image(tmp_path / "palette.png")), np.asarray(corners()))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    image = open_image(tmp_path / "print.jpg")
    assert image.mode == "RGB"
    assert np.abs(np.array(image.getpixel((3, 3))) - RED).max() < 10


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    """Half of 65535 is a middle grey, no white."""
    Image.fromarray(np.full((6, 8), 32768, np.uint16)).save(tmp_path / "deep.png")
    found = open_image(tmp_path / "deep.png").getpixel((3, 3))
    assert isinstance(found, tuple)
    assert all(120 <= value <= 136 for value in found)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _bomb() -> bytes:
    """A header that claims 60000 x 60000 pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return start + _png()[33:]


def _flipped() -> bytes:
    content = bytearray(_png())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "is not an image"),
        (lambda: b"no picture at all\n" * 100, "is not an image"),
        (lambda: _png()[:20], "is "),
        (lambda: _png()[: len(_png()) // 2], "damaged"),
        (_flipped, "damaged"),
        (_bomb, "claims a size that no photograph has"),
    ],
    ids=["empty", "text", "header-cut", "cut", "flipped", "bomb"],
)
def test_a_file_that_is_no_sound_picture(tmp_path: Path, content: Callable[[], bytes], words: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content())
    with pytest.raises(BadInput) as caught:
        open_image(path)
    assert words in caught.value.cause
    assert str(path) in caught.value.cause


def test_a_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Image not found"):
        open_image(tmp_path / "picture.png")


def test_a_directory_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a directory"):
        open_image(tmp_path)
