"""Evaluate artifacts and their source networks on the same images.

The classifiers run one after the other, in the same seeded order of images. A limited or interrupted evaluation is
therefore one of a random sample, and a resumed one continues where it stopped.
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

from evim_deploy.accuracy.classifier import batch_size, image_size, open_classifier
from evim_deploy.accuracy.data import DataSet, open_data
from evim_deploy.accuracy.evaluated_artifact import EvaluatedArtifact, read_artifacts
from evim_deploy.accuracy.predictions import PredictionLog, open_log, top_predictions
from evim_deploy.accuracy.published_network import PublishedNetwork
from evim_deploy.accuracy.result import NO_ACCURACY, NO_AGREEMENT, Accuracy, Agreement, accuracy, agreement
from evim_deploy.accuracy.stream import stream
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.common import threads
from evim_deploy.common.errors import BadInput, EvimError
from evim_deploy.common.progress import Progress, Silent
from evim_deploy.proof.origin import open_origin

if TYPE_CHECKING:
    from PIL import Image

NOT_RUN = "not run on this host"


class ImageClassifier(Protocol):
    """An artifact or a network."""

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """Prepare an RGB image of any size."""

    def probabilities(self, inputs: npt.NDArray[Any], /) -> npt.NDArray[np.float64]:
        """Probabilities (N, classes) for prepared images (N, ...)."""


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """One classifier's part of an evaluation.

    Attributes:
        name: Its name in progress messages.
        key: The key of its predictions in a log.
        opened: Loads it.
        batch: Number of images in a batch.
        size: Height and width of the images, pixels.
    """

    name: str
    key: str
    opened: AbstractContextManager[ImageClassifier]
    batch: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The result for one artifact.

    Attributes:
        artifact: The artifact.
        accuracy: Its accuracy; None if it was interrupted before the first prediction.
        reference: The accuracy of its source network; None if that has no predictions.
        agreement: The agreement with its source network; None if that has no predictions.
        reference_engine: The engine of the source network; empty if it is unavailable.
        reason: Why there is no agreement; empty if there is.
        unreadable: Names of images that could not be read.
        is_complete: Whether all images were processed.
    """

    artifact: EvaluatedArtifact
    accuracy: Accuracy | None
    reference: Accuracy | None
    agreement: Agreement | None
    reference_engine: str
    reason: str
    unreadable: tuple[str, ...]
    is_complete: bool

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON values, shares in percent."""
        artifact, document = self.artifact, self.artifact.manifest.document
        recorded = ("format", "precision", "model", "resolution", "weights")
        figures = self.accuracy.to_dict() if self.accuracy else NO_ACCURACY
        agreement = self.agreement.to_dict() if self.agreement else NO_AGREEMENT
        return {
            "artifact": str(artifact.path),
            "sha256": artifact.sha256,
            **{key: document[key] for key in recorded},
            "engine": artifact.engine,
            "classes_by": artifact.classes.rule,
            **figures,
            **agreement,
            "agreement_reason": self.reason,
            "reference": self.reference.to_dict() if self.reference else None,
            "unreadable": list(self.unreadable),
            "complete": self.is_complete,
        }


@dataclass(frozen=True)
class Evaluation:
    """The results for several artifacts.

    Attributes:
        data: The images.
        results: The result of each artifact, in the user's order.
        is_complete: Whether it ran to its end.
    """

    data: DataSet
    results: tuple[EvaluationResult, ...]
    is_complete: bool

    def to_dict(self) -> dict[str, Any]:
        """The results as plain JSON values."""
        return {
            "data": {"name": self.data.name, "classes": self.data.layout, "images": len(self.data.images)},
            "complete": self.is_complete,
            "results": [result.to_dict() for result in self.results],
        }


@dataclass(kw_only=True)
class Evaluator:
    """Evaluates artifacts; a source network that several share is evaluated once.

    Attributes:
        label_file: The label file of a flat folder of images; None searches for one in the folder.
        rule: The rule for class names, a row of :data:`~evim_deploy.accuracy.classes.RULES`; None for the first match.
        limit: Number of images; None for all.
        weights: The source of the reference's weights in the form of ``--weights``; None for that of each artifact.
        resume: The file that keeps predictions and from which to resume; None saves none.
        progress: The progress to report to.
    """

    label_file: Path | None = None
    rule: str | None = None
    limit: int | None = None
    weights: str | None = None
    resume: Path | None = None
    progress: Progress = field(default_factory=Silent)
    _references: dict[str, PublishedNetwork | str] = field(default_factory=dict)

    def evaluate(self, artifacts: Sequence[Path], data: str) -> Evaluation:
        """Evaluate artifacts on a folder of images or ``digits``; an interrupt ends it with the results so far.

        Raises:
            BadInput: An artifact, the data, the weights or the file of predictions is invalid.
            NotInstalled: A required package is missing.
            NotRunHere: An artifact's engine does not exist on this host.
        """
        if self.limit is not None and self.limit < 1:
            raise BadInput(f"--limit must be at least 1, got {self.limit}.", "Use --limit 1 or more.")
        images = open_data(data, self.label_file)
        evaluated = read_artifacts(artifacts, images, self.rule)
        for artifact in evaluated:
            self._open_reference(artifact)
        order = images.order.tolist()
        indices = order[: self.limit]
        with open_log(self.resume, _identity(evaluated, images), order) as log:
            is_complete = self._classify_all(evaluated, images, indices, log)
        results = tuple(self._result(artifact, images, indices, log) for artifact in evaluated)
        return Evaluation(images, results, is_complete)

    def _open_reference(self, artifact: EvaluatedArtifact) -> None:
        """Open the source network, or record why it is unavailable; weights that the user names must be right."""
        key, path, weights = artifact.reference_key, artifact.path, artifact.manifest.weights
        if key in self._references:
            return
        if not weights.trained:
            self.progress.warn(f"{path.name}: {UNTRAINED_NOTICE} ({weights.source}); only its agreement does.")
        self.progress.step(f"{path.name}: loading the weights {self.weights or weights.source}")
        try:
            reference = open_origin(artifact.manifest, path, self.weights, self.progress.step)
            size = image_size(artifact.manifest)
            self._references[key] = PublishedNetwork(reference, size, reference.transform(*size))
        except EvimError as error:
            if self.weights is not None:
                raise
            self._references[key] = f"{NOT_RUN}: {error.cause.removesuffix('.')}"
            self.progress.warn(f"{path.name} is not compared with its reference: {self._references[key]}.")

    def _classify_all(
        self, artifacts: Sequence[EvaluatedArtifact], data: DataSet, indices: Sequence[int], log: PredictionLog
    ) -> bool:
        """Run every artifact, and after it its reference; False if interrupted."""
        try:
            for artifact in artifacts:
                for turn in self._turns(artifact):
                    self._classify(turn, data, indices, log)
        except KeyboardInterrupt:
            return False
        return True

    def _turns(self, artifact: EvaluatedArtifact) -> Iterator[_Turn]:
        manifest, path = artifact.manifest, artifact.path
        size, opened = image_size(manifest), open_classifier(path)
        yield _Turn(name=path.name, key=artifact.key, opened=opened, batch=batch_size(manifest), size=size)
        reference = self._references[artifact.reference_key]
        if not isinstance(reference, str):
            name = f"{manifest.model.name} in {reference.reference.engine}"
            yield _Turn(
                name=name, key=artifact.reference_key, opened=nullcontext(reference), batch=reference.batch, size=size
            )

    def _classify(self, turn: _Turn, data: DataSet, indices: Sequence[int], log: PredictionLog) -> None:
        """Run one classifier on the remaining images.

        Raises:
            BadInput: None of the images can be read.
        """
        name, key, count = turn.name, turn.key, turn.batch
        predictions = log.predictions(key)
        left = indices[predictions.seen :]
        if left:
            with threads.computing(count * prod(turn.size)), turn.opened as classifier:
                for batch in stream(data, left, count, classifier.prepare):
                    self.progress.advance(f"{name}: classifying", predictions.seen, len(indices))
                    start = time.perf_counter()
                    probabilities = classifier.probabilities(batch.inputs) if batch.images else np.empty((0, 1))
                    seconds = time.perf_counter() - start
                    log.add(key, top_predictions(batch.images, batch.unreadable, probabilities, seconds))
            self.progress.advance(f"{name}: classifying", predictions.seen, len(indices))
        if not predictions.images:
            raise BadInput(
                f"None of the {len(indices)} images of {data.name} can be read, such as {data.images[indices[0]]}.",
                "Give JPEG or PNG files.",
            )

    def _result(
        self, artifact: EvaluatedArtifact, data: DataSet, indices: Sequence[int], log: PredictionLog
    ) -> EvaluationResult:
        own, expected = (log.predictions(key).subset(indices) for key in (artifact.key, artifact.reference_key))
        labels, reference = artifact.classes.labels, self._references[artifact.reference_key]
        reason = reference if isinstance(reference, str) else ""
        agreed = None if reason else agreement(own, expected, labels)
        return EvaluationResult(
            artifact=artifact,
            accuracy=accuracy(own, labels),
            reference=None if reason else accuracy(expected, labels),
            agreement=agreed,
            reference_engine="" if isinstance(reference, str) else reference.reference.engine,
            reason=reason or ("" if agreed else "interrupted"),
            unreadable=tuple(data.images[index] for index in own.unreadable),
            is_complete=own.seen == len(indices),
        )


def _identity(artifacts: Sequence[EvaluatedArtifact], data: DataSet) -> dict[str, object]:
    """The artifacts and images that the predictions of an evaluation belong to."""
    return {"artifacts": sorted({artifact.key for artifact in artifacts}), "images": data.identity}
