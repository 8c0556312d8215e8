"""Read the manifest inside an artifact, and check the one beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from evim_deploy.artifact.manifest import ManifestDocument, embedded, labels_sha256
from evim_deploy.artifact.metadata import LABELS_KEY, MANIFEST_SUFFIX, METADATA_KEY, SCHEMA_VERSION
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import Target, Weights
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.network_name import parse_network_name
from evim_deploy.catalog.terms import Activation
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json
from evim_deploy.images.preprocessing import Preprocessing

_FILE_ENTRIES = frozenset(["artifact", "size_bytes", "sha256"])
"""Entries of the manifest beside an artifact that the one inside lacks."""

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""Errors of reading a damaged document."""

_LABELS = TypeAdapter(list[str])


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest inside an artifact.

    Attributes:
        model: The exported model.
        target: The requested artifact.
        weights: Source of its weights.
        preprocessing: Preprocessing that the published evaluation of the network uses.
        tools: Versions of the packages that made it, by name.
        schema: The validated document.
        document: The document as it stands in the artifact.
    """

    model: Model
    target: Target
    weights: Weights
    preprocessing: Preprocessing
    tools: Mapping[str, str]
    schema: ManifestDocument
    document: Mapping[str, Any]

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for dense features."""
        return self.schema.num_classes

    @property
    def status(self) -> ParityStatus:
        """Status of the proof when the artifact was made."""
        return self.schema.parity.status

    @property
    def function_statuses(self) -> tuple[ParityStatus, ...]:
        """Status of the proof of each function, in their order; empty where the artifact has a single function."""
        return tuple(function.parity.status for function in self.schema.functions)


def embedded_manifest(metadata: Mapping[str, str], artifact: Path) -> Manifest:
    """The manifest in an artifact's own metadata.

    Args:
        metadata: The metadata of the artifact's file.
        artifact: Its path, for messages.

    Raises:
        BadInput: The manifest is missing or damaged, its schema version is newer, or its model is unknown.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise BadInput(
            f"{artifact} does not say how to use it: it was not made by evim-deploy.",
            "Make it by `evim-deploy export`.",
        )
    try:
        return _manifest(
            parse_json(text), _LABELS.validate_python(parse_json(metadata.get(LABELS_KEY, "[]"))), artifact
        )
    except _DAMAGE as error:
        raise BadInput(
            f"{artifact} is damaged: its metadata cannot be read ({_reason(error)}).", "Export it again."
        ) from None


def check_beside(manifest: Manifest, artifact: Path) -> str | None:
    """The sha256 in the manifest beside an artifact; None where there is no such file.

    Raises:
        BadInput: The file is damaged, or contradicts the manifest inside the artifact.
    """
    path = artifact.with_name(artifact.name + MANIFEST_SUFFIX)
    if not path.is_file():
        return None
    remedy = "Remove it: the artifact itself says what it is."
    try:
        document = parse_json(path.read_bytes())
        digest = document["sha256"]
        beside, inside = embedded(document), embedded(manifest.document)
        keys = (beside.keys() | inside.keys()) - _FILE_ENTRIES
        contradicted = sorted(key for key in keys if beside.get(key) != inside.get(key))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    except _DAMAGE as error:
        raise BadInput(f"{path} is damaged ({_reason(error)}).", remedy) from None
    if contradicted or not isinstance(digest, str):
        entries = ", ".join(contradicted) or "sha256"
        raise BadInput(f"{path} is damaged, or of another artifact: it contradicts the artifact in {entries}.", remedy)
    return digest


def _manifest(document: Mapping[str, Any], labels: list[str], artifact: Path) -> Manifest:
    version = document["schema_version"]
    if version not in range(1, SCHEMA_VERSION + 1):
        raise BadInput(
            f"{artifact} has metadata of version {version}; this evim-deploy reads versions up to {SCHEMA_VERSION}.",
            "Use the evim-deploy that made it, or export it again.",
        )
    schema = ManifestDocument.model_validate(document)
    target = _target(schema, tuple(labels))
    preprocessing = Preprocessing(**dict(schema.preprocessing))
    model = _model(schema.model, target, preprocessing)
    if model is None:
        raise BadInput(
            f"{artifact} is of the model {schema.model}, which this evim-deploy does not know.",
            "Use the evim-deploy that made it.",
        )
    return Manifest(
        model=model,
        target=target,
        weights=Weights(**dict(schema.weights)),
        preprocessing=preprocessing,
        tools=schema.tools,
        schema=schema,
        document=document,
    )


def _target(schema: ManifestDocument, labels: tuple[str, ...]) -> Target:
    """The requested artifact.

    Raises:
        ValueError, KeyError, TypeError: The labels, functions or quantisation contradict the rest of the document.
    """
    if len(labels) != (schema.num_classes or 0):
        raise ValueError(f"{len(labels)} labels")
    if schema.schema_version > 1 and schema.labels_sha256 != labels_sha256(labels):
        raise ValueError("other labels than were exported")
    height, width = (None, None) if schema.resolution == "dynamic" else schema.resolution
    target = Target(
        format=schema.format,
        precision=schema.precision,
        height=height,
        width=width,
        batch=None if schema.batch == "dynamic" else schema.batch,
        task=schema.task,
        output=schema.output,
        preprocess=schema.preprocess,
        labels=labels,
        activation=schema.activation or Activation.SOFTMAX,
        opset=schema.opset,
        half_io=schema.half_io,
        deployment_target=schema.deployment_target,
        functions=tuple(function.resolution for function in schema.functions),
        quantisation=None if schema.quantisation is None else Quantisation.parse(schema.quantisation.model_dump()),
    )
    names = [function.name for function in schema.functions]
    if names != list(target.of_functions()) or target.functions[:1] not in ((), ((height, width),)):
        raise ValueError("the names of its functions contradict their sizes")
    return target


def _model(name: str, target: Target, preprocessing: Preprocessing) -> Model | None:
    """An EfficientViM, or a network whose size is that of the artifact; None for an unknown name."""
    if model := MODELS.get(name):
        return model
    if target.height is None or target.width is None:
        return None
    return parse_network_name(name, (target.height, target.width), preprocessing)


def _reason(error: Exception) -> str:
    """The error in one line; of a validation its first fault."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    fault = error.errors(include_url=False)[0]
    return ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
