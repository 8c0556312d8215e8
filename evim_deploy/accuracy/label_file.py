"""Read label files, which give the class of each image of a folder, as for ImageNet's validation images.

==========================================  =====================================================================
file                                        lines
==========================================  =====================================================================
``val.txt``, ``labels.txt``                 ``NAME CLASS``, separated by a tab or spaces
``labels.csv``                              ``NAME,CLASS``, without a header
``LOC_val_solution.csv``, Kaggle's          ``NAME,ID x y x y ID ...`` below a header; the first WordNet id counts
``imagenet_2012_validation_synset_labels``  a WordNet id, in the order of the images' names; ``.txt``
``ILSVRC2012_validation_ground_truth.txt``  a number from 1 for each image, in the same order; the development kit's
                                            ``meta.mat`` beside it maps numbers to classes
==========================================  =====================================================================

Any of these forms is read from a file of any name, except the last, whose name distinguishes it from indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from evim_deploy.common.errors import BadInput, NotInstalled, first_line

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
NAMES = (
    "val.txt",
    "labels.txt",
    "labels.csv",
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    GROUND_TRUTH,
)
"""Names of label files that are searched for."""

_KAGGLE_HEADER = "ImageId,PredictionString"
_META = "meta.mat"
_NAMED = 3
_FORM = "Give a line NAME CLASS for each image, or one class per line in the order of the images' names."


def find_label_file(folder: Path) -> Path:
    """The label file in a folder.

    Raises:
        BadInput: There is none, or more than one.
    """
    files = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(files) == 1:
        return files[0]
    cause = (
        f"has several label files: {', '.join(path.name for path in files)}" if files else "has images without labels"
    )
    raise BadInput(
        f"{folder} {cause}.",
        f"Name the file with --labels ({', '.join(NAMES)} are found automatically), or make a folder for each class.",
    )


def read_label_file(path: Path, images: Sequence[Path]) -> list[str]:
    """The class name of each image, from a label file.

    Args:
        path: The file.
        images: The images, sorted by name.

    Raises:
        BadInput: The file cannot be read, or does not give each image exactly one class.
        NotInstalled: scipy, which reads the development kit's order, is missing.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise BadInput(f"Label file not found: {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text: {first_line(error)}.", _FORM) from None
    is_kaggle = lines[:1] == [_KAGGLE_HEADER]
    pairs = [_pair(line, path.suffix.lower() == ".csv") for line in lines[is_kaggle:]]
    if any(pair[1:] for pair in pairs):
        return _by_name(path, [(pair[0], " ".join(pair[1:])) for pair in pairs], images, is_kaggle)
    if len(pairs) != len(images):
        raise BadInput(f"{path} has {len(pairs)} labels, and there are {len(images)} images.", _FORM)
    groups = [pair[0] for pair in pairs]
    return _wordnet_ids(path, groups) if path.name == GROUND_TRUTH else groups


def _pair(line: str, is_csv: bool) -> list[str]:
    """An image's name and its class, or the class alone."""
    separator = "," if is_csv else "\t" if "\t" in line else None
    return [part.strip() for part in line.split(separator, 1)]


def _by_name(path: Path, pairs: Sequence[tuple[str, str]], images: Sequence[Path], is_kaggle: bool) -> list[str]:
    """The classes of lines that name their image, with or without folders and suffix."""
    groups: dict[str, str] = {}
    for line, text in pairs:
        name, group = PurePosixPath(line).name, text.split(" ")[0] if is_kaggle else text
        if not group:
            raise BadInput(f"{path} has no class for {name!r}.", _FORM)
        if groups.setdefault(name, group) != group:
            raise BadInput(f"{path} has two classes for {name!r}.", "Remove one of them.")
    names = [image.name if image.name in groups else image.stem for image in images]
    unlabelled = [image.name for image, name in zip(images, names, strict=True) if name not in groups]
    if unlabelled:
        raise BadInput(f"{path} has no label for {_listed(unlabelled)}.", _FORM)
    absent = sorted(groups.keys() - set(names))
    if absent:
        raise BadInput(f"{path} has labels for missing images: {_listed(absent)}.", "Add them.")
    return [groups[name] for name in names]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _wordnet_ids(path: Path, numbers: Sequence[str]) -> list[str]:
    """The development kit's numbers as WordNet ids."""
    meta = path.with_name(_META)
    if not meta.is_file():
        raise BadInput(
            f"{path} numbers the classes in the order of {_META} of the development kit, which is missing.",
            f"Put {_META} beside it, or give the classes as indices or WordNet ids.",
        )
    try:
        from scipy.io import loadmat
    except ImportError:
        raise NotInstalled(f"Reading {meta} needs scipy, which is not installed.", "pip install scipy") from None
    try:
        synsets = loadmat(str(meta), squeeze_me=True)["synsets"]
        ids = {
            str(int(number)): str(each) for number, each in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        }
    except Exception as error:  # the reader raises whatever the bytes lead it to
        raise BadInput(f"{meta} is damaged: {first_line(error)}.", "Copy it from the development kit again.") from None
    unknown = sorted(set(numbers) - ids.keys())
    if unknown:
        raise BadInput(f"{path} has classes that {meta} lacks: {_listed(unknown)}.", "Use both from one kit.")
    return [ids[number] for number in numbers]
