"""Images whose classes are known: folders of classes, a folder with a file of labels, or the digits that ship."""

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
"""What is named for the held-out digits that ship; a folder of that name is ``./digits``."""

_SEED = 0


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Images, each with a class.

    Attributes:
        name: As the user named it.
        layout: Where its classes come from.
        images: The images' names, (N,).
        groups: Each image's class as the data calls it, (N,).
        names: All classes, in the order of their names.
        identity: sha256 of what it consists of: the images' names and sizes in bytes, and their classes (hex).
        open: Opens the image at a place.
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
        """The places of all images in a seeded order, (N,): however many of the first are a sample of them all."""
        return np.random.RandomState(_SEED).permutation(len(self.images)).astype(np.int64)


def open_data(data: str, label_file: Path | None) -> DataSet:
    """The images that a user names.

    Args:
        data: A folder, or ``digits``.
        label_file: Of a folder with the images themselves in it; None finds one there by its name.

    Raises:
        BadInput: There is no folder, no image, or no class for each image.
        NotInstalled: A package that reads the file of labels is missing.
    """
    folder = None if data == DIGITS else Path(data)
    flat, folders = _listed(folder) if folder else ([], {})
    if label_file is not None and not flat:
        raise BadInput(
            f"{label_file} has the classes of images that lie in one folder, and {data} is none.", "Leave out --labels."
        )
    if folder is None:
        return _digits()
    below = [path for members in folders.values() for path in members]
    if flat and below:
        raise BadInput(f"{folder} has images, and folders with images.", "Name the one that is meant.")
    if flat:
        found = label_file or find_label_file(folder)
        return _of_files(folder, f"labels of {found.name}", flat, read_label_file(found, flat), ())
    if not below:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise BadInput(f"{folder} has no images.", f"Put files that end in one of {suffixes} there, a folder a class.")
    groups = [name for name, members in folders.items() for _ in members]
    return _of_files(folder, "class folders", below, groups, folders)


def _listed(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The images in a folder itself, and those anywhere below each of its folders; nothing that is hidden."""
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
    folder: Path, layout: str, paths: Sequence[Path], groups: Sequence[str], folders: Iterable[str]
) -> DataSet:
    images = [path.relative_to(folder).as_posix() for path in paths]
    sizes = [path.lstat().st_size for path in paths]
    return _data_set(str(folder), layout, images, groups, folders, sizes, lambda place: open_image(paths[place]))


def _digits() -> DataSet:
    from PIL import Image

    from evim_deploy.images.digits import held_out

    pixels, labels = held_out()  # (N, 64, 64, 3), (N,)
    images, groups = [f"digit {place}" for place in range(len(labels))], [str(label) for label in labels]
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    return _data_set(
        DIGITS, "labels that ship", images, groups, (), hashes, lambda place: Image.fromarray(pixels[place])
    )


def _data_set(
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
