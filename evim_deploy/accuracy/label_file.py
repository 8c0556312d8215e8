"""Files that say the class of each image of a folder, as ImageNet's validation images come with.

==========================================  =====================================================================
file                                        lines
==========================================  =====================================================================
``val.txt``, ``labels.txt``                 ``NAME CLASS``, between them a tab or spaces
``labels.csv``                              ``NAME,CLASS``, without a header
``LOC_val_solution.csv``, Kaggle's          ``NAME,ID x y x y ID ...`` below a header; the first WordNet id counts
``imagenet_2012_validation_synset_labels``  a WordNet id, in the order of the images' names; ``.txt``
``ILSVRC2012_validation_ground_truth.txt``  a number in the same order, from 1, in an order that only the development
                                            kit's ``meta.mat`` tells: it has to lie beside it
==========================================  =====================================================================

Any of these forms is read from a file of any name, but for the last, which its name alone tells from indices.
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
"""What a file of labels is called where nobody names it."""

_KAGGLE_HEADER = "ImageId,PredictionString"
_META = "meta.mat"
_TOLD = 3
_FORM = "Give a line NAME CLASS for each image, or a class a line in the order of the images' names."


def find_label_file(folder: Path) -> Path:
    """The file of labels in a folder.

    Raises:
        BadInput: There is none, or more than one.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) == 1:
        return found[0]
    cause = (
        f"has several files of labels: {', '.join(path.name for path in found)}" if found else "has images, no labels"
    )
    raise BadInput(
        f"{folder} {cause}.",
        f"Name the file with --labels ({', '.join(NAMES)} are found by themselves), or make a folder of each class.",
    )


def read_label_file(path: Path, images: Sequence[Path]) -> list[str]:
    """The class of each image, as the file calls it.

    Args:
        path: The file.
        images: In the order of their names.

    Raises:
        BadInput: It cannot be read, or does not give each image one class.
        NotInstalled: What reads the development kit's order is missing.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise BadInput(f"There is no file of labels {path}.", "Check the path.") from None
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
    """An image's name and its class; the class alone where a line has no more."""
    separator = "," if is_csv else "\t" if "\t" in line else None
    return [part.strip() for part in line.split(separator, 1)]


def _by_name(path: Path, pairs: Sequence[tuple[str, str]], images: Sequence[Path], is_kaggle: bool) -> list[str]:
    """The classes where each line names its image, with or without folders before the name and a suffix after it."""
    groups: dict[str, str] = {}
    for line, text in pairs:
        name, group = PurePosixPath(line).name, text.split(" ")[0] if is_kaggle else text
        if not group:
            raise BadInput(f"{path} gives {name!r} no class.", _FORM)
        if groups.setdefault(name, group) != group:
            raise BadInput(f"{path} gives {name!r} two classes.", "Take one of them out.")
    names = [image.name if image.name in groups else image.stem for image in images]
    unlabelled = [image.name for image, name in zip(images, names, strict=True) if name not in groups]
    if unlabelled:
        raise BadInput(f"{path} has no label for {_told(unlabelled)}.", _FORM)
    absent = sorted(groups.keys() - set(names))
    if absent:
        raise BadInput(f"{path} has labels for images that are not there: {_told(absent)}.", "Put them there.")
    return [groups[name] for name in names]


def _told(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more


def _wordnet_ids(path: Path, numbers: Sequence[str]) -> list[str]:
    """The development kit's numbers as WordNet ids."""
    meta = path.with_name(_META)
    if not meta.is_file():
        raise BadInput(
            f"{path} numbers the classes in an order that only {_META} of the development kit tells.",
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
        raise BadInput(f"{meta} is damaged: {first_line(error)}.", "Take it from the development kit again.") from None
    unknown = sorted(set(numbers) - ids.keys())
    if unknown:
        raise BadInput(f"{path} has classes that {meta} does not: {_told(unknown)}.", "Take both from one kit.")
    return [ids[number] for number in numbers]
