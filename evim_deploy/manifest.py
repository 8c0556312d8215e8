"""Read what an artifact says of itself: its embedded metadata, and the manifest that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evim_deploy.artifact import LABELS_KEY, MANIFEST_SUFFIX, METADATA_KEY, SCHEMA_VERSION, Target, Weights
from evim_deploy.errors import BadInput
from evim_deploy.variants import MODELS, ModelName

_READABLE = range(1, SCHEMA_VERSION + 1)
"""Schema versions in which everything that is read here means the same."""

_OF_THE_FILE = frozenset(["artifact", "size_bytes", "sha256"])
"""What the manifest beside an artifact says of it as a file, which the metadata inside cannot."""


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself.

    Attributes:
        model: Which model it is.
        target: What was asked for.
        weights: What it was made from.
        num_classes: Of its heads; None for dense features.
        document: All of it.
    """

    model: ModelName
    target: Target
    weights: Weights
    num_classes: int | None
    document: Mapping[str, Any]


def embedded_manifest(metadata: Mapping[str, str], artifact: Path) -> Manifest:
    """The manifest in an artifact's own metadata.

    Raises:
        BadInput: There is none, or it is damaged, or of a version to come.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise BadInput(
            f"{artifact} does not say how to use it: it was not made by evim-deploy.",
            "Make it by `evim-deploy export`.",
        )
    try:
        return _parse(json.loads(text), tuple(json.loads(metadata.get(LABELS_KEY, "[]"))), artifact)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{artifact} is damaged: its metadata cannot be read ({_said(error)}).", "Export it again."
        ) from None


def check_beside(manifest: Manifest, artifact: Path) -> str | None:
    """The sha256 that the manifest beside an artifact gives for it; None where none lies there.

    Raises:
        BadInput: It is damaged, or says something else than the artifact itself.
    """
    path = artifact.with_name(artifact.name + MANIFEST_SUFFIX)
    if not path.is_file():
        return None
    remedy = "Remove it: the artifact itself says what it is."
    try:
        document = json.loads(path.read_bytes())
        digest = document["sha256"]
        keys = (document.keys() | manifest.document.keys()) - _OF_THE_FILE
        contradicted = sorted(key for key in keys if document.get(key) != manifest.document.get(key))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is damaged ({_said(error)}).", remedy) from None
    if contradicted or not isinstance(digest, str):
        named = ", ".join(contradicted) or "sha256"
        raise BadInput(f"{path} is damaged, or of another artifact: it contradicts the artifact in {named}.", remedy)
    return digest


def _parse(document: Mapping[str, Any], labels: tuple[str, ...], artifact: Path) -> Manifest:
    version = document["schema_version"]
    if version not in _READABLE:
        raise BadInput(
            f"{artifact} has metadata of version {version}; this evim-deploy reads versions up to {SCHEMA_VERSION}.",
            "Use the evim-deploy that made it, or export it again.",
        )
    resolution, batch, classes = (document[key] for key in ("resolution", "batch", "num_classes"))
    height, width = (None, None) if resolution == "dynamic" else resolution
    target = Target(
        document["format"],
        document["precision"],
        height,
        width,
        None if batch == "dynamic" else batch,
        document["task"],
        document["output"],
        document["preprocess"],
        labels,
    )
    sizes = [size for size in (target.height, target.width, target.batch, classes) if size is not None]
    if not all(isinstance(size, int) and size > 0 for size in sizes) or len(labels) != (classes or 0):
        raise ValueError("sizes that are none")
    weights = Weights(**{key: document["weights"][key] for key in ("source", "trained", "sha256", "note")})
    return Manifest(MODELS[document["model"]], target, weights, classes, document)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
