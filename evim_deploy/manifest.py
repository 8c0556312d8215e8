"""Read what an artifact says of itself: its embedded metadata, and the manifest that lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evim_deploy.artifact import LABELS_KEY, MANIFEST_SUFFIX, METADATA_KEY, SCHEMA_VERSION, Target, Weights
from evim_deploy.documents import parse_json
from evim_deploy.errors import BadInput
from evim_deploy.variants import MODELS, ModelName

_READABLE = range(1, SCHEMA_VERSION + 1)
"""Schema versions in which everything that is read here means the same."""

_FORMATS = ("coreml", "onnx", "tflite")
_PRECISIONS = ("fp32", "fp16")
_OUTPUTS = {"classify": ("logits", "probabilities"), "features": ("features",)}
_WEIGHTS = {"source": str, "trained": bool, "sha256": str, "note": str}

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
        return _parse(parse_json(text), parse_json(metadata.get(LABELS_KEY, "[]")), artifact)
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
        document = parse_json(path.read_bytes())
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


def _parse(document: Mapping[str, Any], labels: Any, artifact: Path) -> Manifest:
    version = document["schema_version"]
    if version not in _READABLE:
        raise BadInput(
            f"{artifact} has metadata of version {version}; this evim-deploy reads versions up to {SCHEMA_VERSION}.",
            "Use the evim-deploy that made it, or export it again.",
        )
    resolution, batch, classes = (document[key] for key in ("resolution", "batch", "num_classes"))
    height, width = (None, None) if resolution == "dynamic" else map(_length, resolution)
    task = _one_of(document["task"], tuple(_OUTPUTS))
    target = Target(
        _one_of(document["format"], _FORMATS),
        _one_of(document["precision"], _PRECISIONS),
        height,
        width,
        None if batch == "dynamic" else _length(batch),
        task,
        _one_of(document["output"], _OUTPUTS[task]),
        _typed(document["preprocess"], bool),
        tuple(_typed(label, str) for label in _typed(labels, list)),
    )
    if (_length(classes) if task == "classify" else 0) != len(target.labels):
        raise ValueError(f"{len(target.labels)} labels")
    weights = Weights(**{key: _typed(document["weights"][key], kind) for key, kind in _WEIGHTS.items()})
    return Manifest(MODELS[document["model"]], target, weights, len(target.labels) or None, document)


def _one_of(value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return str(value)


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _length(value: Any) -> int:
    if type(value) is not int or value < 1:  # True is an int, too
        raise ValueError(f"{value!r} is no length")
    return value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
