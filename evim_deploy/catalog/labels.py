"""Class labels: ImageNet's, those of the weights that ship, the user's own, or numbers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path

from evim_deploy.catalog.variants import IMAGENET_CLASSES
from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json
from evim_deploy.images import digits

_NOT_IN_LINES = frozenset(["Cc", "Cs", "Zl", "Zp"])
"""Unicode categories that a line of text cannot contain: control characters, surrogates, line separators."""


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 classes of ImageNet-1k in the order of the logits; the names are unique."""
    return tuple((files("evim_deploy") / "data" / "imagenet1k.txt").read_text("utf-8").splitlines())


def class_labels(num_classes: int, path: Path | None, weights: str = "", own: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A name for each class.

    Args:
        num_classes: Number of classes of the model.
        path: A text file with one name a line, a JSON list of names, or a JSON object of names by index; None for
            ImageNet's names, or ``class 0``, ``class 1``, ... for any other number of classes.
        weights: Source of the weights: those that ship with the package have classes of their own.
        own: Names that come with the model; empty if it has none.

    Raises:
        BadInput: The file cannot be read, or does not have one unique line of text for each class.
    """
    if path is None:
        if own:
            return own
        if weights == digits.SOURCE:
            return digits.CLASSES
        if num_classes == IMAGENET_CLASSES:
            return imagenet_labels()
        return tuple(f"class {index}" for index in range(num_classes))
    labels = _read(path)
    if len(labels) != num_classes:
        raise BadInput(
            f"{path} names {len(labels)} classes, the model has {num_classes}.",
            "Give one label for each class, in the order of the logits.",
        )
    broken = [label for label in labels if not _is_line(label)]
    if broken:
        raise BadInput(
            f"{path} names {broken[0]!r}, which is not one line of text.",
            "Take line breaks and control characters out of the labels: a TFLite file has one label a line.",
        )
    repeated = sorted(label for label, times in Counter(labels).items() if times > 1)
    if repeated:
        raise BadInput(
            f"{path} names {repeated[0]!r} more than once.",
            "Make the labels unique: a Core ML classifier looks probabilities up by name.",
        )
    return labels


def _is_line(label: str) -> bool:
    return not any(unicodedata.category(each) in _NOT_IN_LINES for each in label.replace("\t", " "))


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"There is no label file {path}.", "Check the path.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} cannot be read as text: {error}.", "Give UTF-8 text, one label a line.") from None
    if not text.lstrip().startswith(("[", "{")):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        labels = parse_json(text)
    except ValueError as error:
        raise BadInput(
            f"{path} is not valid JSON: {error}.", "Give a JSON list of names, or one label a line."
        ) from None
    if isinstance(labels, dict):
        labels = [labels.get(str(index)) for index in range(len(labels))]
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise BadInput(
            f"{path} has an entry that is not a name.",
            "Give a JSON list of names, or an object of names by index from 0.",
        )
    return tuple(label.strip() for label in labels)
