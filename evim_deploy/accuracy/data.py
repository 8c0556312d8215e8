"""Labelled images: class folders, a folder with a label file, or the bundled digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.label_file import find_label_file, read_label_file
from evim_deploy.common.errors import BadInput
from evim_deploy.images.preprocessing import IMAGE_SUFFIXES, open_image

if TYPE_CHECKING:
    from PIL import Image

DIGITS = "digits"
"""Names the bundled held-out digits; a folder of that name is ``./digits``."""

_SEED = 0


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images, each with a class.

    Attributes:
        name: The user's name of the data.
        layout: The source of its classes.
        images: Names of the images, (N,).
        groups: Class name of each image, (N,).
        names: All class names, sorted.
        identity: sha256 of the images' names, sizes in bytes, and classes, hex.
        open: Opens the image at an index.
    """

    name: str
    layout: str
    images: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    identity: str
    open: Callable[[int], Image.Image]

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """The indices of all images in a seeded random order, (N,); any first part is a random sample."""
        return np.random.RandomState(_SEED).permutation(len(self.images)).astype(np.int64)


def open_data(data: str, label_file: Path | None) -> DataSet:
    """Open labelled images.

    Args:
        data: A folder, or ``digits``.
        label_file: The label file of a flat folder of images; None searches for one in the folder.

    Raises:
        BadInput: The folder, an image or a class is missing.
        NotInstalled: A package that reads the label file is missing.
    """
    folder = None if data == DIGITS else Path(data)
    flat, folders = _listed(folder) if folder else ([], {})
    if label_file is not None and not flat:
        raise BadInput(
            f"{label_file} is a label file, and {data} is not a flat folder of images.", "Leave out --labels."
        )
    if folder is None:
        return _digits()
    below = [path for members in folders.values() for path in members]
    if flat and below:
        raise BadInput(f"{folder} has both images and folders with images.", "Name one of them.")
    if flat:
        labels = label_file or find_label_file(folder)
        return _of_files(folder, f"labels of {labels.name}", paths=flat, groups=read_label_file(labels, flat))
    if not below:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise BadInput(f"{folder} has no images.", f"Put {suffixes} files there, in a folder for each class.")
    groups = [name for name, members in folders.items() for _ in members]
    return _of_files(folder, "class folders", paths=below, groups=groups, folders=folders)


def _listed(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The images directly in a folder, and those below each of its subfolders; hidden files are skipped."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        cause = f"{folder} cannot be read as a folder of images: {error.strerror}."
        raise BadInput(cause, "Name a folder of class folders, one with its file of labels, or digits.") from None
    below = {path.name: sorted(_images(path.rglob("*"), path)) for path in entries if path.is_dir()}
    return list(_images(entries, folder)), below


def _images(paths: Iterable[Path], folder: Path) -> Iterator[Path]:
    for path in paths:
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden and not path.is_dir():
            yield path


def _of_files(
    folder: Path, layout: str, *, paths: Sequence[Path], groups: Sequence[str], folders: Iterable[str] = ()
) -> DataSet:
    images = [path.relative_to(folder).as_posix() for path in paths]
    sizes = [path.lstat().st_size for path in paths]
    return _data_set(
        name=str(folder),
        layout=layout,
        images=images,
        groups=groups,
        folders=folders,
        contents=sizes,
        opener=lambda index: open_image(paths[index]),
    )


def _digits() -> DataSet:
    from PIL import Image

    from evim_deploy.images.digits import held_out

    pixels, labels = held_out()  # (N, 64, 64, 3), (N,)
    images, groups = [f"digit {index}" for index in range(len(labels))], [str(label) for label in labels]
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    return _data_set(
        name=DIGITS,
        layout="labels that ship",
        images=images,
        groups=groups,
        folders=(),
        contents=hashes,
        opener=lambda index: Image.fromarray(pixels[index]),
    )


def _data_set(
    *,
    name: str,
    layout: str,
    images: Sequence[str],
    groups: Sequence[str],
    folders: Iterable[str],
    contents: Sequence[int | str],
    opener: Callable[[int], Image.Image],
) -> DataSet:
    document = json.dumps([list(images), list(groups), list(contents)])
    identity = hashlib.sha256(document.encode()).hexdigest()
    return DataSet(
        name=name,
        layout=layout,
        images=tuple(images),
        groups=tuple(groups),
        names=tuple(sorted({*groups, *folders})),
        identity=identity,
        open=opener,
    )
