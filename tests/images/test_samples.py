"""Samples of every depth and mode, by values worked out by hand; files that Pillow does not write are written here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import open_image

SHAPE = (6, 8)
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
PHOTOMETRIC, SAMPLE_FORMAT, MAX_SAMPLE, S_MAX_SAMPLE, EXTRA_SAMPLES = 262, 339, 281, 341, 338


def tiff(samples: np.ndarray[Any, Any], bits: int, order: str = "<", **tags: int | float) -> bytes:
    """An uncompressed TIFF of samples (H, W) or (H, W, C), its tags ascending; 12 bits are packed."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    data = pack_12(samples) if bits == 12 else samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    entries: dict[int, tuple[int, list[int | float]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * channels),
        259: (3, [1]),
        PHOTOMETRIC: (3, [1 if channels < 3 else 2]),
        273: (4, [0]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(data)]),
        **{int(tag[1:]): (11 if isinstance(value, float) else 3, [value]) for tag, value in tags.items()},
    }
    formats = {3: "H", 4: "I", 11: "f"}
    values = {tag: struct.pack(f"{order}{len(v)}{formats[kind]}", *v) for tag, (kind, v) in entries.items()}
    start = 8 + 2 + 12 * len(entries) + 4
    extra, directory = b"", b""
    spare = {tag: value for tag, value in values.items() if len(value) > 4}
    image_at = start + sum(len(value) for value in spare.values())
    values[273] = struct.pack(f"{order}I", image_at)
    for tag in sorted(entries):
        kind, numbers = entries[tag]
        value = values[tag]
        if tag in spare:
            value, extra = struct.pack(f"{order}I", start + len(extra)), extra + value
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return head + directory + struct.pack(f"{order}I", 0) + extra + data


def pack_12(samples: np.ndarray[Any, Any]) -> bytes:
    """Two samples in three bytes, each row from a byte on."""
    rows = []
    for row in samples:
        bits = "".join(f"{value:012b}" for value in row)
        rows.append(bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)))
    return b"".join(rows)


def png(samples: np.ndarray[Any, Any], colour: int) -> bytes:
    """A PNG of 16-bit samples (H, W, C)."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def grey(*values: float, dtype: Any = np.uint16) -> np.ndarray[Any, Any]:
    """An image of 6 x 8 whose first samples are these, and the others the last of them."""
    return np.array([*values, *[values[-1]] * (SHAPE[0] * SHAPE[1] - len(values))], dtype).reshape(SHAPE)


def colour(*pixels: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.array([*pixels, *[pixels[-1]] * (SHAPE[0] * SHAPE[1] - len(pixels))], np.uint16).reshape(*SHAPE, -1)


def pgm(maximum: int, *values: int) -> bytes:
    width = ">u2" if maximum > 255 else ">u1"
    return f"P5 8 6 {maximum}\n".encode() + grey(*values).astype(width).tobytes()


def opened(folder: Path, content: bytes, name: str = "picture") -> np.ndarray[Any, Any]:
    path = folder / name
    path.write_bytes(content)
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def first(folder: Path, content: bytes, count: int) -> list[int]:
    """The first samples of a picture that is grey."""
    pixels = opened(folder, content)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].ravel()[:count].tolist()  # type: ignore[no-any-return]


# --- grey of more than 8 bits

SCALED = {
    "16 bits, little-endian": (tiff(grey(0, 257, 32768, 65535), 16), [0, 1, 128, 255]),
    "16 bits, big-endian": (tiff(grey(0, 257, 32768, 65535), 16, ">"), [0, 1, 128, 255]),
    "16 bits, 0 is white": (tiff(grey(0, 257, 65535), 16, t262=0), [255, 254, 0]),
    "16 bits in a PNG": (png(grey(0, 257, 32768, 65535)[..., None], 0), [0, 1, 128, 255]),
    "16 bits, black": (tiff(grey(0), 16), [0, 0]),
    "a bright half": (tiff(grey(16384), 16), [64]),
    "12 bits, which the file states": (tiff(grey(0, 16, 2048, 4095), 12), [0, 1, 128, 255]),
    "12 bits, dark": (tiff(grey(0, 16), 12), [0, 1]),
    "12 in 16 with MaxSampleValue": (tiff(grey(0, 2048, 4095), 16, t281=4095), [0, 128, 255]),
    "12 in 16 with SMaxSampleValue": (tiff(grey(0, 2048, 4095), 16, t341=4095), [0, 128, 255]),
    "10 in 16 with SMaxSampleValue": (tiff(grey(0, 512, 1023), 16, t341=1023), [0, 128, 255]),
    "14 in 16 with SMaxSampleValue": (tiff(grey(0, 8192, 16383), 16, t341=16383), [0, 128, 255]),
    "16 with SMaxSampleValue, dark": (tiff(grey(0, 257), 16, t341=65535), [0, 1]),
    "32 bits with SMaxSampleValue": (tiff(grey(0, 32768, dtype=np.uint32), 32, t281=65535), [0, 128]),
    "a PGM of 12 bits": (pgm(4095, 0, 2048, 4095), [0, 128, 255]),
    "a PGM of 10 bits, dark": (pgm(1023, 0, 4), [0, 1]),
    "a PGM of 8 bits": (pgm(255, 0, 7, 255), [0, 7, 255]),
    "floats of 0 to 1": (tiff(grey(0, 0.5, 1, dtype=np.float32), 32, t339=FLOAT), [0, 128, 255]),
    "floats, big-endian": (tiff(grey(0, 0.5, 1, dtype=np.float32), 32, ">", t339=FLOAT), [0, 128, 255]),
    "floats, 0 is white": (tiff(grey(0, 0.25, 1, dtype=np.float32), 32, t339=FLOAT, t262=0), [255, 191, 0]),
    "floats, dark": (tiff(grey(0, 0.004, dtype=np.float32), 32, t339=FLOAT), [0, 1]),
    "floats of 0 to 255, as stated": (tiff(grey(0, 7, 255, dtype=np.float32), 32, t339=FLOAT, t341=255.0), [0, 7, 255]),
}


@pytest.mark.parametrize("name", SCALED)
def test_deep_grey_is_scaled_to_its_white(tmp_path: Path, name: str) -> None:
    content, expected = SCALED[name]
    assert first(tmp_path, content, len(expected)) == expected


NOT_A_NUMBER = grey(0.5, float("nan"), 0.25, dtype=np.float32)
REFUSED = {
    "10 bits in 16": (tiff(grey(0, 1023), 16), "has 10 bits and does not say so"),
    "12 bits in 16": (tiff(grey(0, 4095), 16), "has 12 bits and does not say so"),
    "14 bits in 16": (tiff(grey(0, 16383), 16), "has 14 bits and does not say so"),
    "12 bits in a PNG": (png(grey(0, 4095)[..., None], 0), "has 12 bits and does not say so"),
    "12 bits in a PGM of 16": (pgm(65535, 0, 4095), "has 12 bits and does not say so"),
    "the largest sample as MaxSampleValue": (tiff(grey(0, 3000), 16, t281=3000), "has 12 bits and does not say so"),
    "beyond the stated white": (tiff(grey(0, 5000), 16, t281=4095), "from 0 to 5000, beyond its range of 0 to 4095"),
    "signed 16 bits": (tiff(grey(0, 20000, dtype=np.int16), 16, t339=SIGNED), "has signed integers"),
    "signed 32 bits": (tiff(grey(0, 200, dtype=np.int32), 32, t339=SIGNED), "integers"),
    "32 bits": (tiff(grey(0, 200, dtype=np.uint32), 32), "has 32-bit integers"),
    "floats beyond 1": (
        tiff(grey(0, 1.5, dtype=np.float32), 32, t339=FLOAT),
        "from 0 to 1.5, beyond its range of 0 to 1",
    ),
    "floats of 0 to 255": (tiff(grey(0, 255, dtype=np.float32), 32, t339=FLOAT), "beyond its range of 0 to 1"),
    "negative floats": (tiff(grey(-0.5, 0.5, dtype=np.float32), 32, t339=FLOAT), "from -0.5 to 0.5"),
    "not a number": (tiff(NOT_A_NUMBER, 32, t339=FLOAT), "infinite or not a number"),
    "infinite": (tiff(grey(0, float("inf"), dtype=np.float32), 32, t339=FLOAT), "infinite or not a number"),
    "12 bits in 16 of colour": (tiff(colour((0, 4095, 9)), 16), "has 12 bits and does not say so"),
    "12 bits in a PNG of colour": (png(colour((0, 4095, 9)), 2), "has 12 bits and does not say so"),
    "8 bits in 16 of colour": (tiff(colour((0, 255, 9)), 16), "has 10 bits and does not say so"),
    "12 bits of colour with alpha": (png(colour((0, 4095, 9, 65535)), 6), "has 12 bits and does not say so"),
    "12 of colour, as stated": (tiff(colour((0, 4095, 9)), 16, t281=4095), "of which Pillow keeps the upper 8"),
    "a PPM of 16 bits": (b"P6 8 6 65535\n" + colour((0, 4095, 9)).astype(">u2").tobytes(), "does not say so"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_samples_whose_range_is_not_stated_are_refused(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    with pytest.raises(BadInput) as caught:
        opened(tmp_path, content)
    assert words in caught.value.cause
    assert str(tmp_path / "picture") in caught.value.cause
    assert "Save it with 8 bits per channel" in caught.value.remedy


# --- colour of 16 bits: the upper byte, as Pillow reads it

DEEP_COLOUR = {
    "TIFF": tiff(colour((65535, 32768, 257)), 16),
    "TIFF, big-endian": tiff(colour((65535, 32768, 257)), 16, ">"),
    "PNG": png(colour((65535, 32768, 257)), 2),
    "PNG with alpha": png(colour((65535, 32768, 257, 0)), 6),
    "PPM": b"P6 8 6 65535\n" + colour((65535, 32768, 257)).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", DEEP_COLOUR)
def test_deep_colour_keeps_its_brightness(tmp_path: Path, name: str) -> None:
    assert np.abs(opened(tmp_path, DEEP_COLOUR[name])[0, 0].astype(int) - (255, 128, 1)).max() <= 1


def test_a_ppm_of_12_bits_is_scaled(tmp_path: Path) -> None:
    content = b"P6 8 6 4095\n" + colour((0, 2048, 4095)).astype(">u2").tobytes()
    assert opened(tmp_path, content)[0, 0].tolist() == [0, 128, 255]


# --- every mode, as torchvision's ImageFolder and timm's data sets convert it


def in_lab() -> Image.Image:
    srgb = Image.new("RGB", SHAPE[::-1], (200, 30, 60))
    change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(srgb, change)
    assert lab is not None
    return lab


def palette(mode: str) -> Image.Image:
    image = Image.new("P", SHAPE[::-1], 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return image.convert(mode)


MODES: dict[str, tuple[Callable[[], Image.Image], str, tuple[int, int, int]]] = {
    "1": (lambda: Image.new("1", (8, 6), 1), "png", (255, 255, 255)),
    "L": (lambda: Image.new("L", (8, 6), 77), "png", (77, 77, 77)),
    "LA": (lambda: Image.new("LA", (8, 6), (77, 0)), "png", (77, 77, 77)),
    "P": (lambda: palette("P"), "png", (10, 200, 30)),
    "P of a GIF": (lambda: palette("P"), "gif", (10, 200, 30)),
    "PA": (lambda: palette("PA"), "tif", (10, 200, 30)),
    "RGB": (lambda: Image.new("RGB", (8, 6), (10, 200, 30)), "webp", (10, 200, 30)),
    "RGBA": (lambda: Image.new("RGBA", (8, 6), (10, 200, 30, 0)), "png", (10, 200, 30)),
    "RGBX": (lambda: Image.new("RGBX", (8, 6), (10, 200, 30, 0)), "tif", (10, 200, 30)),
    "CMYK": (lambda: Image.new("CMYK", (8, 6), (0, 255, 255, 0)), "tif", (255, 0, 0)),
    "YCbCr": (lambda: Image.new("RGB", (8, 6), (10, 200, 30)).convert("YCbCr"), "tif", (10, 200, 30)),
    "LAB": (in_lab, "tif", (200, 30, 60)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("error")
def test_each_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    make, suffix, expected = MODES[mode]
    path = tmp_path / f"picture.{suffix}"
    make().save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = open_image(path)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    assert np.abs(np.subtract(image.getpixel((3, 3)), expected)).max() <= (2 if mode in ("YCbCr", "LAB") else 0)


@pytest.mark.filterwarnings("error")
def test_a_transparent_palette_loses_its_alpha(tmp_path: Path) -> None:
    palette("P").save(tmp_path / "picture.png", transparency=b"\x00\x80")
    assert open_image(tmp_path / "picture.png").getpixel((3, 3)) == (10, 200, 30)


def test_premultiplied_alpha_is_divided_out(tmp_path: Path) -> None:
    """Half transparent, so the colours in the file are half of those meant."""
    for samples in (colour((40, 20, 10, 128)), colour((40, 128))):
        content = tiff(samples.astype(np.uint8), 8, t338=1)
        found = opened(tmp_path, content)[0, 0]
        assert np.abs(found.astype(int) - ((80, 40, 20) if samples.shape[2] == 4 else (80, 80, 80))).max() <= 1


# --- several frames: the first


@pytest.mark.parametrize(("suffix", "tolerance"), [("gif", 0), ("tif", 0), ("png", 0), ("webp", 3)])
def test_of_several_frames_the_first_is_read(tmp_path: Path, suffix: str, tolerance: int) -> None:
    red, blue = (Image.new("RGB", (8, 6), each) for each in ((255, 0, 0), (0, 0, 255)))
    path = tmp_path / f"picture.{suffix}"
    red.save(path, save_all=True, append_images=[blue])
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
    found = open_image(path).getpixel((3, 3))
    assert np.abs(np.subtract(found, (255, 0, 0))).max() <= tolerance


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_the_orientation_of_each_format_is_applied_once(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGB", (32, 16), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right: the left half is above then
    path = tmp_path / f"picture.{suffix}"
    image.save(path, exif=exif)
    found = open_image(path)
    assert found.size == (16, 32)
    above, below = (np.array(found.getpixel((8, y))) for y in (4, 28))
    assert above[2] > 200 > below[2]


# --- files that cannot be read


def test_a_file_without_permission_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Image.Image:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(BadInput, match="permission denied"):
        open_image(tmp_path / "picture.png")


@pytest.mark.parametrize("content", [tiff(grey(0), 16)[:60], tiff(grey(0), 16)[:-20], png(colour((9, 9, 9)), 2)[:60]])
def test_a_truncated_deep_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadInput):
        opened(tmp_path, content)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_with_changed_bytes_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    draw = np.random.RandomState(seed)
    sound = [content for content, _ in (*SCALED.values(), *REFUSED.values())] + list(DEEP_COLOUR.values())
    for content in sound:
        changed = bytearray(content)
        for place in draw.randint(0, min(len(changed), 200), draw.randint(1, 5)):
            changed[place] = draw.randint(0, 256)
        try:
            opened(tmp_path, bytes(changed))
        except BadInput:
            continue
