"""The predictions made so far, and the file that keeps them over an interruption.

The file is JSON lines: the first identifies the evaluation, each further line holds one batch. A line is written at
once, so that an interruption truncates only the last line, which is then written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json

SCHEMA_VERSION = 1
TOP = 5

NO_CLASS = -1
"""Replaces the class of a prediction with a value that is not finite."""

_ANOTHER = "Name another file with --resume, or remove it."


@dataclass(kw_only=True)
class Predictions:
    """The predictions of one classifier.

    Attributes:
        images: Indices of the classified images, (N,).
        unreadable: Indices of images that could not be read.
        top: The top classes of each, the likeliest first, (N, up to 5).
        confidence: The probability of the likeliest class, (N,).
        seconds: Inference time.
    """

    images: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    top: list[list[int]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        """Number of images processed, the unreadable ones included."""
        return len(self.images) + len(self.unreadable)

    def subset(self, indices: Sequence[int]) -> Predictions:
        """The predictions for some images, and their share of the time."""
        chosen = set(indices)
        rows = [row for row, index in enumerate(self.images) if index in chosen]
        return Predictions(
            images=[self.images[row] for row in rows],
            unreadable=[index for index in self.unreadable if index in chosen],
            top=[self.top[row] for row in rows],
            confidence=[self.confidence[row] for row in rows],
            seconds=self.seconds * len(rows) / max(1, len(self.images)),
        )

    def extend(self, more: Predictions) -> None:
        self.images += more.images
        self.unreadable += more.unreadable
        self.top += more.top
        self.confidence += more.confidence
        self.seconds += more.seconds


def top_predictions(
    images: Sequence[int], unreadable: Sequence[int], probabilities: npt.NDArray[np.float64], seconds: float
) -> Predictions:
    """The top classes by probabilities (N, classes); :data:`NO_CLASS` if these are not finite."""
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    confidence = np.clip(np.take_along_axis(probabilities, top[:, :1], axis=1)[:, 0], 0, 1)
    is_lost = ~np.isfinite(probabilities).all(axis=1)
    top[is_lost], confidence[is_lost] = NO_CLASS, 0
    return Predictions(
        images=list(images),
        unreadable=list(unreadable),
        top=top.tolist(),
        confidence=confidence.tolist(),
        seconds=seconds,
    )


class PredictionLog:
    """The predictions of several classifiers, by key.

    Args:
        predictions: The predictions so far.
        file: The file to which further ones are appended; None if they are not saved.
    """

    def __init__(self, predictions: dict[str, Predictions], file: RawIOBase | None = None) -> None:
        self._predictions = predictions
        self._file = file

    def predictions(self, key: str) -> Predictions:
        return self._predictions.setdefault(key, Predictions())

    def add(self, key: str, more: Predictions) -> None:
        """Append the predictions of a batch.

        Raises:
            BadInput: The file cannot be written.
        """
        if self._file is not None:
            try:
                _write(self._file, {"of": key, **vars(more)})
            except OSError as error:
                cause = f"The predictions cannot be written: {error.strerror}."
                raise BadInput(cause, "Free some space; the same command resumes from there.") from None
        self.predictions(key).extend(more)


@contextmanager
def open_log(path: Path | None, identity: Mapping[str, object], order: Sequence[int]) -> Iterator[PredictionLog]:
    """Open a file of predictions to resume an evaluation; without a file they are not saved.

    Args:
        path: The file; created if missing.
        identity: Identifies the evaluation, as plain JSON values; a file of another one is refused.
        order: The order of the images.

    Raises:
        BadInput: The file is of another evaluation, damaged, or cannot be read or written.
    """
    if path is None:
        yield PredictionLog({})
        return
    heading = {"schema_version": SCHEMA_VERSION, "evaluate": identity}
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # without a truncated last line
        predictions = {} if _line(heading).startswith(text) else _read(path, whole, identity, order)
        file = path.open("r+b" if text else "wb", buffering=0)
        file.truncate(file.seek(len(whole.encode())))
        if not whole:
            _write(file, heading)
    except UnicodeDecodeError:
        raise BadInput(f"{path} was not written by --resume.", _ANOTHER) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read and written: {error.strerror}.", _ANOTHER) from None
    with file:
        yield PredictionLog(predictions, file)


def _line(document: Mapping[str, object]) -> str:
    return json.dumps(document) + "\n"


def _write(file: RawIOBase, document: Mapping[str, object]) -> None:
    """Write a line without a buffer: a failed write is not repeated when the file is closed."""
    left = _line(document).encode()
    while left:
        left = left[file.write(left) :]


def _read(path: Path, text: str, identity: Mapping[str, object], order: Sequence[int]) -> dict[str, Predictions]:
    heading, *lines = text.splitlines() or [""]
    _check_heading(path, heading, identity)
    predictions: dict[str, Predictions] = {}
    for number, line in enumerate(lines, 2):
        try:
            document = parse_json(line)
            key, more = document.pop("of"), Predictions(**document)
            so_far = predictions.setdefault(key, Predictions())
            expected = order[so_far.seen : so_far.seen + more.seen]
            if not more.seen or sorted(more.images + more.unreadable) != sorted(expected):
                raise ValueError("these are not the next images")
            count = len(more.images)
            if (np.shape(more.top)[0], np.shape(more.confidence)) != (count, (count,)):
                raise ValueError("the number of predictions differs from that of images")
            np.array(more.top, np.int64), np.array([*more.confidence, more.seconds], np.float64)
            so_far.extend(more)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
            raise BadInput(f"{path} is damaged in line {number}: {error}.", _ANOTHER) from None
    return predictions


def _check_heading(path: Path, heading: str, identity: Mapping[str, object]) -> None:
    try:
        document = parse_json(heading)
        version, recorded = document["schema_version"], document["evaluate"]
        differing = [key for key in identity if recorded[key] != identity[key]]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} was not written by --resume.", _ANOTHER) from None
    if version != SCHEMA_VERSION:
        cause = f"{path} has version {version}, and this evim-deploy reads version {SCHEMA_VERSION}"
        raise BadInput(f"{cause}.", _ANOTHER)
    if differing:
        raise BadInput(f"{path} has predictions for other {' and '.join(differing)}.", _ANOTHER)
