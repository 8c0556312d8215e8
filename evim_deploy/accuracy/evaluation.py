"""Artifacts and the networks that they were made from, over the same images: who answers what, and how often right.

Every classifier goes over the images alone, one after the other, in one seeded order. So an evaluation that was
limited or interrupted is one of a sample, and one that is resumed goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from evim_deploy.accuracy.answers import Log, answer, open_log
from evim_deploy.accuracy.classifier import batch_size, image_size, open_classifier
from evim_deploy.accuracy.data import DataSet, open_data
from evim_deploy.accuracy.result import NO_ACCURACY, NO_COMPARISON, Accuracy, Comparison, accuracy, compare
from evim_deploy.accuracy.stream import stream
from evim_deploy.accuracy.subject import Subject, find_subjects
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.common.numerics import batches
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.images.preprocessing import place
from evim_deploy.proof.origin import open_origin

if TYPE_CHECKING:
    from PIL import Image

    from evim_deploy.images.published_transform import Transform
    from evim_deploy.networks.protocols import Reference

_LARGEST_BATCH = 16  # of a network
_LARGEST_PIXELS = _LARGEST_BATCH * 256 * 256  # of such a batch, for the memory's sake
NOT_RUN = "not run on this host"


class Classifies(Protocol):
    """An artifact or a network."""

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """What it takes of an RGB image of any size."""

    def probabilities(self, inputs: npt.NDArray[Any], /) -> npt.NDArray[np.float64]:
        """Of each class, (N, classes), for prepared images (N, ...)."""


@dataclass(frozen=True)
class Original:
    """The network as published, in float32, on what the published evaluation's own transform gives.

    Attributes:
        reference: The network.
        size: Height and width of its images, pixels.
        transform: The published one of that size: a fault in the product's own crop shows in the agreement.
    """

    reference: Reference
    size: tuple[int, int]
    transform: Transform

    def prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """What the network takes of an RGB image, normalised (3, H, W).

        Raises:
            BadInput: An artifact does not take it either, and the transform would fill the memory.
        """
        place((image.height, image.width), self.size, self.reference.preprocessing)
        return self.transform(image)

    def probabilities(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Of each class, (N, classes), for normalised images (N, 3, H, W).

        Full batches alone are computed: then an answer is the same to the bit wherever an evaluation is resumed.
        """
        indices = np.concatenate(batches(len(images), self.batch))
        found = self.reference.outputs("classify", images[indices], self.batch)["probabilities"]
        return found[: len(images)].astype(np.float64)

    @property
    def batch(self) -> int:
        """How many images it is given at once."""
        return min(max(_LARGEST_PIXELS // prod(self.size), 1), _LARGEST_BATCH)


@dataclass(frozen=True, kw_only=True)
class _Respondent:
    """A classifier whose turn it is to answer.

    Attributes:
        name: As the progress calls it.
        key: Of its answers in a log.
        opened: Loads it.
        batch: How many images it is given at once.
        size: Height and width of these, pixels.
    """

    name: str
    key: str
    opened: AbstractContextManager[Classifies]
    batch: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Result:
    """How it went with one artifact.

    Attributes:
        subject: Which, and how the data's classes are its.
        accuracy: None where it was interrupted before the first answer.
        reference: Of the network that it was made from; None where that did not answer.
        comparison: With that.
        reference_engine: What computed it; "" where that was not had.
        reason: Why it did not.
        unreadable: Names of images that could not be read.
        is_complete: Whether all images were dealt with.
    """

    subject: Subject
    accuracy: Accuracy | None
    reference: Accuracy | None
    comparison: Comparison | None
    reference_engine: str
    reason: str
    unreadable: tuple[str, ...]
    is_complete: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, shares in percent."""
        subject, manifest = self.subject, self.subject.manifest
        told = ("format", "precision", "model", "resolution", "weights")
        figures = self.accuracy.to_dict() if self.accuracy else NO_ACCURACY
        compared = self.comparison.to_dict() if self.comparison else NO_COMPARISON
        return {
            "artifact": str(subject.artifact),
            "sha256": subject.sha256,
            **{key: manifest.document[key] for key in told},
            "engine": subject.engine,
            "classes_by": subject.classes.rule,
            **figures,
            **compared,
            "agreement_reason": self.reason,
            "reference": self.reference.to_dict() if self.reference else None,
            "unreadable": list(self.unreadable),
            "complete": self.is_complete,
        }


@dataclass(frozen=True)
class Evaluation:
    """How it went with several.

    Attributes:
        data: The images.
        results: Of the artifacts, in the order in which they were named.
        is_complete: Whether nothing broke it off.
    """

    data: DataSet
    results: tuple[Result, ...]
    is_complete: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "data": {"name": self.data.name, "classes": self.data.layout, "images": len(self.data.images)},
            "complete": self.is_complete,
            "results": [result.to_dict() for result in self.results],
        }


@dataclass(kw_only=True)
class Evaluator:
    """Evaluates artifacts; what several have in common is computed once.

    Attributes:
        label_file: The classes of images that lie in one folder; None finds it there.
        rule: How the data's classes are meant, a row of :data:`~evim_deploy.accuracy.classes.RULES`; None as they fit.
        limit: How many images to look at; None for all.
        weights: The reference's, as ``--weights`` takes them; None for what each artifact was made from.
        resume: The file in which answers are kept, and with which it goes on; None keeps none.
        progress: Who is told how the work goes on.
    """

    label_file: Path | None = None
    rule: str | None = None
    limit: int | None = None
    weights: str | None = None
    resume: Path | None = None
    progress: Progress = field(default_factory=Silent)
    _references: dict[str, Original | str] = field(default_factory=dict)

    def evaluate(self, artifacts: Sequence[Path], data: str) -> Evaluation:
        """Evaluate artifacts over images, a folder's or ``digits``; an interrupt ends it with what there is.

        Raises:
            BadInput: An artifact, the data, the weights or the file of answers is not what it should be.
            NotInstalled: A package that it needs is missing.
            NotRunHere: An artifact's engine does not exist on this host.
        """
        if self.limit is not None and self.limit < 1:
            raise BadInput(f"--limit {self.limit} leaves no image.", "Give --limit 1 or more.")
        found = open_data(data, self.label_file)
        subjects = find_subjects(artifacts, found, self.rule)
        for subject in subjects:
            self._open_reference(subject)
        order = found.order.tolist()
        places = order[: self.limit]
        with open_log(self.resume, _identity(subjects, found), order) as log:
            is_complete = self._answer_all(subjects, found, places, log)
        results = tuple(self._result(subject, found, places, log) for subject in subjects)
        return Evaluation(found, results, is_complete)

    def _open_reference(self, subject: Subject) -> None:
        """Find what an artifact is compared with, or why it cannot be; weights that were named have to be right."""
        key, artifact, weights = subject.reference_key, subject.artifact, subject.manifest.weights
        if key in self._references:
            return
        if not weights.trained:
            self.progress.warn(f"{artifact.name}: {UNTRAINED_NOTICE} ({weights.source}); only its agreement does.")
        self.progress.step(f"{artifact.name}: loading the weights {self.weights or weights.source}")
        try:
            reference = open_origin(subject.manifest, artifact, self.weights, self.progress.step)
            size = image_size(subject.manifest)
            self._references[key] = Original(reference, size, reference.transform(*size))
        except EvimError as error:
            if self.weights is not None:
                raise
            self._references[key] = f"{NOT_RUN}: {error.cause.removesuffix('.')}"
            self.progress.warn(f"{artifact.name} is compared with no reference, {self._references[key]}.")

    def _answer_all(self, subjects: Sequence[Subject], data: DataSet, places: Sequence[int], log: Log) -> bool:
        """Have every artifact answer, and after it its reference; whether that came to its end."""
        try:
            for subject in subjects:
                for respondent in self._respondents(subject):
                    self._answer(respondent, data, places, log)
        except KeyboardInterrupt:
            return False
        return True

    def _respondents(self, subject: Subject) -> Iterator[_Respondent]:
        manifest, artifact = subject.manifest, subject.artifact
        size, opened = image_size(manifest), open_classifier(artifact)
        yield _Respondent(name=artifact.name, key=subject.key, opened=opened, batch=batch_size(manifest), size=size)
        reference = self._references[subject.reference_key]
        if not isinstance(reference, str):
            name = f"{manifest.model.name} in {reference.reference.engine}"
            yield _Respondent(
                name=name, key=subject.reference_key, opened=nullcontext(reference), batch=reference.batch, size=size
            )

    def _answer(self, respondent: _Respondent, data: DataSet, places: Sequence[int], log: Log) -> None:
        """Have one classifier answer to the images that it has not seen.

        Raises:
            BadInput: None of the images can be read.
        """
        name, key, count = respondent.name, respondent.key, respondent.batch
        answers = log.of(key)
        left = places[answers.seen :]
        if left:
            with threads.computing(count * prod(respondent.size)), respondent.opened as classifier:
                for batch in stream(data, left, count, classifier.prepare):
                    self.progress.advance(f"{name}: classifying", answers.seen, len(places))
                    start = time.perf_counter()
                    found = classifier.probabilities(batch.inputs) if batch.images else np.empty((0, 1))
                    seconds = time.perf_counter() - start
                    log.add(key, answer(batch.images, batch.unreadable, found, seconds))
            self.progress.advance(f"{name}: classifying", answers.seen, len(places))
        if not answers.images:
            raise BadInput(
                f"None of the {len(places)} images of {data.name} can be read, such as {data.images[places[0]]}.",
                "Give JPEG or PNG files.",
            )

    def _result(self, subject: Subject, data: DataSet, places: Sequence[int], log: Log) -> Result:
        answers, theirs = (log.of(key).among(places) for key in (subject.key, subject.reference_key))
        labels, reference = subject.classes.labels, self._references[subject.reference_key]
        reason = reference if isinstance(reference, str) else ""
        compared = None if reason else compare(answers, theirs, labels)
        return Result(
            subject=subject,
            accuracy=accuracy(answers, labels),
            reference=None if reason else accuracy(theirs, labels),
            comparison=compared,
            reference_engine="" if isinstance(reference, str) else reference.reference.engine,
            reason=reason or ("" if compared else "interrupted"),
            unreadable=tuple(data.images[place] for place in answers.unreadable),
            is_complete=answers.seen == len(places),
        )


def _identity(subjects: Sequence[Subject], data: DataSet) -> dict[str, Any]:
    """Of what the answers of an evaluation are."""
    return {"artifacts": sorted({subject.key for subject in subjects}), "images": data.identity}
