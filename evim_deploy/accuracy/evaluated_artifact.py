"""An artifact to evaluate: its description before the first inference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import runtimes
from evim_deploy import formats
from evim_deploy.accuracy.classes import ClassMapping, match
from evim_deploy.accuracy.classifier import image_size, require_classifier
from evim_deploy.accuracy.data import DataSet
from evim_deploy.artifact.reading import Manifest, embedded_manifest
from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import sha256


@dataclass(frozen=True, kw_only=True)
class EvaluatedArtifact:
    """One artifact and the data's classes in its labels.

    Attributes:
        path: Its path.
        manifest: Its manifest.
        engine: The engine that runs it on this host.
        sha256: The hash of its file, hex.
        classes: The class of each image.
    """

    path: Path
    manifest: Manifest
    engine: str
    sha256: str
    classes: ClassMapping

    @property
    def key(self) -> str:
        """The key of its predictions in a log."""
        return f"{self.sha256} in {self.engine}"

    @property
    def reference_key(self) -> str:
        """The key of the predictions of its source network on images of the artifact's size and preprocessing."""
        manifest = self.manifest
        images = [image_size(manifest), asdict(manifest.preprocessing)]
        return json.dumps([manifest.model.name, manifest.weights.sha256, manifest.num_classes, *images])


def read_artifact(artifact: Path, data: DataSet, rule: str | None) -> EvaluatedArtifact:
    """Read an artifact's manifest, without loading it, and match the data's classes with its labels.

    Raises:
        BadInput: It is damaged, foreign or not a classifier, or lacks a class of the data.
        NotInstalled: Its engine is missing.
        NotRunHere: Its engine does not exist on this host.
    """
    engine = runtimes.first_available(runtimes.engines_for(artifact))
    runtimes.require(engine, artifact.name)
    manifest = embedded_manifest(formats.read(artifact).metadata, artifact)
    require_classifier(manifest, artifact)
    try:
        classes = match(data.groups, data.names, manifest.target.labels, rule)
    except BadInput as error:
        raise BadInput(f"{artifact} and {data.name} do not fit. {error.cause}", error.remedy) from None
    return EvaluatedArtifact(
        path=artifact, manifest=manifest, engine=engine.name, sha256=sha256(artifact), classes=classes
    )


def read_artifacts(artifacts: Sequence[Path], data: DataSet, rule: str | None) -> list[EvaluatedArtifact]:
    """Read several artifacts, each once."""
    return [read_artifact(artifact, data, rule) for artifact in dict.fromkeys(artifacts)]
