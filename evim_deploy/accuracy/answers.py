"""What was answered so far, image by image, and the file in which it survives an interruption.

The file is JSON lines: the first says what it is of, each further one what one batch gave. A line is written at once,
so that what breaks off is the last one alone, which is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json

SCHEMA_VERSION = 1
TOP = 5

NOWHERE = -1
"""In the place of a class where an answer holds a value that is not finite."""

_ANOTHER = "Name another file with --resume, or remove it."


@dataclass(kw_only=True)
class Answers:
    """Of one classifier.

    Attributes:
        images: The places of the images that it was given, (N,).
        unreadable: The places of images that could not be read.
        top: The likeliest classes of each, the likeliest first, (N, up to 5).
        confidence: The probability of the likeliest, (N,).
        seconds: How long it took to answer.
    """

    images: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    top: list[list[int]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        """Images that were dealt with."""
        return len(self.images) + len(self.unreadable)

    def among(self, places: Sequence[int]) -> Answers:
        """The answers to some images, and their share of the time."""
        wanted = set(places)
        kept = [row for row, place in enumerate(self.images) if place in wanted]
        return Answers(
            images=[self.images[row] for row in kept],
            unreadable=[place for place in self.unreadable if place in wanted],
            top=[self.top[row] for row in kept],
            confidence=[self.confidence[row] for row in kept],
            seconds=self.seconds * len(kept) / max(1, len(self.images)),
        )

    def extend(self, more: Answers) -> None:
        self.images += more.images
        self.unreadable += more.unreadable
        self.top += more.top
        self.confidence += more.confidence
        self.seconds += more.seconds


def answer(
    images: Sequence[int], unreadable: Sequence[int], probabilities: npt.NDArray[np.float64], seconds: float
) -> Answers:
    """What probabilities (N, classes) of images say; nothing at all where they are not finite."""
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    confidence = np.clip(np.take_along_axis(probabilities, top[:, :1], axis=1)[:, 0], 0, 1)
    is_lost = ~np.isfinite(probabilities).all(axis=1)
    top[is_lost], confidence[is_lost] = NOWHERE, 0
    return Answers(
        images=list(images),
        unreadable=list(unreadable),
        top=top.tolist(),
        confidence=confidence.tolist(),
        seconds=seconds,
    )


class Log:
    """The answers of several classifiers, each by a key of its own.

    Args:
        answers: Those there are.
        file: Where further ones are written, too.
    """

    def __init__(self, answers: dict[str, Answers], file: RawIOBase | None = None) -> None:
        self._answers = answers
        self._file = file

    def of(self, key: str) -> Answers:
        return self._answers.setdefault(key, Answers())

    def add(self, key: str, more: Answers) -> None:
        """Keep what a batch gave.

        Raises:
            BadInput: The file cannot be written.
        """
        if self._file is not None:
            try:
                _write(self._file, {"of": key, **vars(more)})
            except OSError as error:
                cause = f"The answers cannot be written: {error.strerror}."
                raise BadInput(cause, "Free some space; the same command goes on from there.") from None
        self.of(key).extend(more)


@contextmanager
def open_log(path: Path | None, subject: Mapping[str, Any], order: Sequence[int]) -> Iterator[Log]:
    """The answers that a file holds, to go on with; without a file nothing is kept.

    Args:
        path: The file; it is made where there is none.
        subject: What the answers are of, as plain JSON values: other answers are refused.
        order: In which the images are looked at.

    Raises:
        BadInput: The file is of something else, damaged, or cannot be read or written.
    """
    if path is None:
        yield Log({})
        return
    heading = {"schema_version": SCHEMA_VERSION, "evaluate": subject}
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # without a last line that broke off
        answers = {} if _line(heading).startswith(text) else _read(path, whole, subject, order)
        file = path.open("r+b" if text else "wb", buffering=0)
        file.truncate(file.seek(len(whole.encode())))
        if not whole:
            _write(file, heading)
    except UnicodeDecodeError:
        raise BadInput(f"{path} is no file that --resume wrote.", _ANOTHER) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read and written: {error.strerror}.", _ANOTHER) from None
    with file:
        yield Log(answers, file)


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document) + "\n"


def _write(file: RawIOBase, document: Mapping[str, Any]) -> None:
    """A line at once, past any buffer: a write that fails is not tried again when the file is closed."""
    left = _line(document).encode()
    while left:
        left = left[file.write(left) :]


def _read(path: Path, text: str, subject: Mapping[str, Any], order: Sequence[int]) -> dict[str, Answers]:
    heading, *lines = text.splitlines() or [""]
    _check_heading(path, heading, subject)
    answers: dict[str, Answers] = {}
    for number, line in enumerate(lines, 2):
        try:
            document = parse_json(line)
            key, more = document.pop("of"), Answers(**document)
            found = answers.setdefault(key, Answers())
            expected = order[found.seen : found.seen + more.seen]
            if not more.seen or sorted(more.images + more.unreadable) != sorted(expected):
                raise ValueError("other images than come next")
            count = len(more.images)
            if (np.shape(more.top)[0], np.shape(more.confidence)) != (count, (count,)):
                raise ValueError("not an answer an image")
            np.array(more.top, np.int64), np.array([*more.confidence, more.seconds], np.float64)
            found.extend(more)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
            raise BadInput(f"{path} is damaged in line {number}: {error}.", _ANOTHER) from None
    return answers


def _check_heading(path: Path, heading: str, subject: Mapping[str, Any]) -> None:
    try:
        document = parse_json(heading)
        version, found = document["schema_version"], document["evaluate"]
        others = [what for what in subject if found[what] != subject[what]]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is no file that --resume wrote.", _ANOTHER) from None
    if version != SCHEMA_VERSION:
        cause = f"{path} is of version {version}, and this evim-deploy reads version {SCHEMA_VERSION}"
        raise BadInput(f"{cause}.", _ANOTHER)
    if others:
        raise BadInput(f"{path} has answers of other {' and '.join(others)} than these.", _ANOTHER)
