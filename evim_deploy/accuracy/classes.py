"""Which of an artifact's classes the data means: the first rule that knows a class of the data has to know them all."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from evim_deploy.catalog.variants import IMAGENET_CLASSES
from evim_deploy.common.errors import BadInput

_TOLD = 3
"""Of classes that are unknown, how many a message names."""

Known = dict[str, int]
"""The index of a class in the order of the logits, by what the data calls it."""


@dataclass(frozen=True)
class Classes:
    """What the data's images are to an artifact.

    Attributes:
        rule: How their classes were found, a row of :data:`RULES`.
        labels: Each image's class in the order of the logits, (N,).
    """

    rule: str
    labels: npt.NDArray[np.int64]


def match(groups: Sequence[str], names: Sequence[str], labels: Sequence[str], rule: str | None) -> Classes:
    """Find the class of each image.

    Args:
        groups: Each image's class as the data calls it, (N,).
        names: All classes of the data, in the order of their names.
        labels: The artifact's, in the order of the logits.
        rule: The one to go by; None for the first that knows any of the names.

    Raises:
        BadInput: The artifact does not know a class of the data, or no rule fits.
    """
    for each in RULES if rule is None else (rule,):
        known = RULES[each](names, labels)
        unknown = [name for name in names if name not in known]
        if not unknown:
            return Classes(each, np.array([known[group] for group in groups], np.int64))
        if known or rule:
            told = ", ".join(map(repr, unknown[:_TOLD])) + (", ..." if len(unknown) > _TOLD else "")
            raise BadInput(
                f"The data has {len(names)} classes, and {len(unknown)} of them are none of the artifact's "
                f"{len(labels)} by {_MEANING[each]}: {told}.",
                "Mend the data, or say by --classes how its classes are meant: "
                + "; ".join(f"{name}, {meaning}" for name, meaning in _MEANING.items())
                + ".",
            )
    raise BadInput(
        f"The data has {len(names)} classes, {names[0]!r} the first, and the artifact has {len(labels)}, "
        f"{labels[0]!r} the first: neither their names nor their number fit.",
        "Name the classes as the artifact's labels do, by their indices from 0, or by WordNet ids of ImageNet.",
    )


def _by_name(names: Sequence[str], labels: Sequence[str]) -> Known:
    """Case and underscores for spaces do not count, unless they are all that tells two labels apart."""
    spelt = _plain if len({_plain(label) for label in labels}) == len(labels) else str
    indices = {spelt(label): index for index, label in enumerate(labels)}
    return {name: indices[spelt(name)] for name in names if spelt(name) in indices}


def _by_index(names: Sequence[str], labels: Sequence[str]) -> Known:
    # a long number is no index, and int() would take its time
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
    "sorted": "as many names as classes, in the order of their letters, as torchvision's ImageFolder counts",
}
