"""Match the data's class names with an artifact's classes; the first rule that knows any name must know all."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from evim_deploy.catalog.variants import IMAGENET_CLASSES
from evim_deploy.common.errors import BadInput

_NAMED = 3
"""Number of unknown classes that a message names."""

Known = dict[str, int]
"""Index of each class in the order of the logits, by the data's class name."""


@dataclass(frozen=True)
class ClassMapping:
    """The classes of the data's images in an artifact's order.

    Attributes:
        rule: The rule that matched them, a row of :data:`RULES`.
        labels: The class of each image, an index of the logits, (N,).
    """

    rule: str
    labels: npt.NDArray[np.int64]


def match(groups: Sequence[str], names: Sequence[str], labels: Sequence[str], rule: str | None) -> ClassMapping:
    """Find the class of each image.

    Args:
        groups: Class name of each image, (N,).
        names: All class names of the data, sorted.
        labels: The artifact's labels, in the order of the logits.
        rule: The rule to apply; None for the first that knows any of the names.

    Raises:
        BadInput: The artifact lacks a class of the data, or no rule fits.
    """
    for each in RULES if rule is None else (rule,):
        known = RULES[each](names, labels)
        unknown = [name for name in names if name not in known]
        if not unknown:
            return ClassMapping(each, np.array([known[group] for group in groups], np.int64))
        if known or rule:
            listed = ", ".join(map(repr, unknown[:_NAMED])) + (", ..." if len(unknown) > _NAMED else "")
            raise BadInput(
                f"The data has {len(names)} classes, and {len(unknown)} of them are not among the artifact's "
                f"{len(labels)} by {_MEANING[each]}: {listed}.",
                "Correct the data, or choose the meaning of its classes with --classes: "
                + "; ".join(f"{name}, {meaning}" for name, meaning in _MEANING.items())
                + ".",
            )
    raise BadInput(
        f"The data has {len(names)} classes, {names[0]!r} the first, and the artifact has {len(labels)}, "
        f"{labels[0]!r} the first: neither their names nor their number match.",
        "Name the classes as the artifact's labels do, by their indices from 0, or by WordNet ids of ImageNet.",
    )


def _by_name(names: Sequence[str], labels: Sequence[str]) -> Known:
    """Match names, ignoring case and underscores for spaces unless two labels differ by these alone."""
    spelt = _plain if len({_plain(label) for label in labels}) == len(labels) else str
    indices = {spelt(label): index for index, label in enumerate(labels)}
    return {name: indices[spelt(name)] for name in names if spelt(name) in indices}


def _by_index(names: Sequence[str], labels: Sequence[str]) -> Known:
    # a long number is not an index, and int() would be slow
    numbers = [name for name in names if name.isascii() and name.isdigit() and len(name) < 10]
    return {name: int(name) for name in numbers if int(name) < len(labels)}


def _by_wordnet(names: Sequence[str], labels: Sequence[str]) -> Known:
    if len(labels) != IMAGENET_CLASSES:
        return {}
    ids = (files("evim_deploy") / "data" / "imagenet1k_wordnet.txt").read_text("utf-8").splitlines()
    indices = {each: index for index, each in enumerate(ids)}
    return {name: indices[name] for name in names if name in indices}


def _by_order(names: Sequence[str], labels: Sequence[str]) -> Known:
    return {name: index for index, name in enumerate(sorted(names))} if len(names) == len(labels) else {}


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).replace("_", " ").casefold()


RULES: dict[str, Callable[[Sequence[str], Sequence[str]], Known]] = {
    "names": _by_name,
    "indices": _by_index,
    "wordnet": _by_wordnet,
    "sorted": _by_order,
}

_MEANING = {
    "names": "the artifact's own labels",
    "indices": "numbers from 0 in the order of the logits",
    "wordnet": "ImageNet's WordNet ids",
    "sorted": "as many names as classes, in alphabetical order as for torchvision's ImageFolder",
}
