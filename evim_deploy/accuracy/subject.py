"""An artifact that is to be evaluated: what is known of it before the first image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import runtimes
from evim_deploy import formats
from evim_deploy.accuracy.classes import Classes, match
from evim_deploy.accuracy.classifier import image_size, require_classifier
from evim_deploy.accuracy.data import DataSet
from evim_deploy.artifact.manifest import Manifest, embedded_manifest
from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import sha256


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One artifact and the data.

    Attributes:
        artifact: Its path.
        manifest: What it says of itself.
        engine: What runs it on this host.
        sha256: Its own (hex).
        classes: What the images are to it.
    """

    artifact: Path
    manifest: Manifest
    engine: str
    sha256: str
    classes: Classes

    @property
    def key(self) -> str:
        """Whose answers its are, in a log."""
        return f"{self.sha256} in {self.engine}"

    @property
    def reference_key(self) -> str:
        """Whose the answers of the network are that it was made from, to images as it takes them."""
        manifest = self.manifest
        images = [image_size(manifest), asdict(manifest.preprocessing)]
        return json.dumps([manifest.model.name, manifest.weights.sha256, manifest.num_classes, *images])


def find_subject(artifact: Path, data: DataSet, rule: str | None) -> Subject:
    """Read what an artifact says, without loading it, and look up the data's classes in its labels.

    Raises:
        BadInput: It is damaged, foreign or no classifier, or does not know the data's classes.
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
    return Subject(artifact=artifact, manifest=manifest, engine=engine.name, sha256=sha256(artifact), classes=classes)


def find_subjects(artifacts: Sequence[Path], data: DataSet, rule: str | None) -> list[Subject]:
    """Of several artifacts, each once."""
    return [find_subject(artifact, data, rule) for artifact in dict.fromkeys(artifacts)]
