"""Read what an artifact says of itself: its embedded metadata, and the manifest that lies beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.artifact.quantisation import Quantisation
from evim_deploy.artifact.target import (
    LABELS_KEY,
    MANIFEST_SUFFIX,
    METADATA_KEY,
    SCHEMA_VERSION,
    Target,
    Weights,
    embedded,
    labels_sha256,
)
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.network_name import named
from evim_deploy.catalog.terms import UNQUANTISED, Activation, Precision
from evim_deploy.catalog.variants import MODELS
from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json
from evim_deploy.formats import ModelFile
from evim_deploy.images.preprocessing import CROP_MODES, INTERPOLATIONS, MAX_CROP_FRACTION, PAPER, Preprocessing

_READABLE = range(1, SCHEMA_VERSION + 1)
"""Schema versions in which everything that is read here means the same."""

_FORMATS = ("coreml", "onnx", "tflite")
_PRECISIONS = tuple(Precision)
_OUTPUTS = {"classify": ("logits", "probabilities"), "features": ("features",)}
_WEIGHTS = {"source": str, "trained": bool, "sha256": str, "note": str}

_OF_THE_FILE = frozenset(["artifact", "size_bytes", "sha256"])
"""What the manifest beside an artifact says of it as a file, which the metadata inside cannot."""


Port = tuple[str, str, tuple[int | str, ...] | None]
"""An input or output: its name, element type and shape."""

Shaped = tuple[str, tuple[int | str, ...] | None]
"""An input of a function: its name and shape; its element type in the program is not the interface's."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an artifact says of itself.

    Attributes:
        model: Which model it is.
        target: What was asked for.
        weights: What it was made from.
        preprocessing: How its network is evaluated.
        num_classes: Of its heads; None for dense features.
        inputs: Each by its name, element type and shape, which is None for a dictionary.
        outputs: Likewise.
        functions: The inputs of each function by their names and shapes, where there are several.
        operations: How many there are of each type.
        status: Of the proof of it all (:class:`~evim_deploy.artifact.parity.Parity`).
        function_statuses: Of the proof of each function, in their order, where there are several.
        tools: What it was made by, and the versions.
        document: All of it.
    """

    model: Model
    target: Target
    weights: Weights
    preprocessing: Preprocessing
    num_classes: int | None
    inputs: frozenset[Port]
    outputs: frozenset[Port]
    functions: Mapping[str, frozenset[Shaped]]
    operations: Counter[str]
    status: ParityStatus
    function_statuses: tuple[ParityStatus, ...]
    tools: Mapping[str, str]
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
        beside, inside = embedded(document), embedded(manifest.document)
        keys = (beside.keys() | inside.keys()) - _OF_THE_FILE
        contradicted = sorted(key for key in keys if beside.get(key) != inside.get(key))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is damaged ({_said(error)}).", remedy) from None
    if contradicted or not isinstance(digest, str):
        named = ", ".join(contradicted) or "sha256"
        raise BadInput(f"{path} is damaged, or of another artifact: it contradicts the artifact in {named}.", remedy)
    return digest


def changes(manifest: Manifest, found: ModelFile) -> Iterator[str]:
    """In what a file is not as its manifest says that it was exported."""
    if manifest.operations != found.operations:
        others = (manifest.operations - found.operations) + (found.operations - manifest.operations)
        yield f"other operations than were exported ({', '.join(sorted(others))})"
    functions = {each.name: frozenset((value.name, value.shape) for value in each.inputs) for each in found.functions}
    several = manifest.functions or len(functions) > 1
    if several and (manifest.functions != functions or next(iter(functions)) != next(iter(manifest.functions))):
        yield "other functions than were exported"
    for what in changed_ports(manifest, found):
        yield f"other {what} than were exported"


def changed_ports(manifest: Manifest, found: ModelFile) -> list[str]:
    """Which of a file's ``inputs`` and ``outputs`` are not as its manifest says that they were exported."""

    def ports(what: str) -> frozenset[Port]:
        return frozenset(_port(each.name, each.dtype, each.shape or ()) for each in getattr(found, what))

    return [what for what in ("inputs", "outputs") if getattr(manifest, what) != ports(what)]


def _port(name: str, dtype: str, shape: Sequence[int | str]) -> Port:
    return name, dtype, None if dtype == "dictionary" else tuple(shape)


def _ports(specs: Any) -> frozenset[Port]:
    return frozenset(_port(_typed(spec["name"], str), spec["dtype"], _typed(spec["shape"], list)) for spec in specs)


def _parse(document: Mapping[str, Any], labels: Any, artifact: Path) -> Manifest:
    version = document["schema_version"]
    if version not in _READABLE:
        raise BadInput(
            f"{artifact} has metadata of version {version}; this evim-deploy reads versions up to {SCHEMA_VERSION}.",
            "Use the evim-deploy that made it, or export it again.",
        )
    resolution, batch, classes = (document[key] for key in ("resolution", "batch", "num_classes"))
    height, width = (None, None) if resolution == "dynamic" else map(_length, resolution)
    preprocessing = _preprocessing(document["preprocessing"]) if "preprocessing" in document else PAPER
    model = _model(_typed(document["model"], str), height, width, preprocessing)
    if model is None:
        raise BadInput(
            f"{artifact} is of the model {document['model']}, which this evim-deploy does not know.",
            "Use the evim-deploy that made it.",
        )
    functions = _typed(document.get("functions", []), list)
    task = _one_of(document["task"], tuple(_OUTPUTS))
    target = Target(
        format=_one_of(document["format"], _FORMATS),
        precision=_one_of(document["precision"], _PRECISIONS),
        height=height,
        width=width,
        batch=None if batch == "dynamic" else _length(batch),
        task=task,
        output=_one_of(document["output"], _OUTPUTS[task]),
        preprocess=_typed(document["preprocess"], bool),
        labels=tuple(_typed(label, str) for label in _typed(labels, list)),
        activation=_one_of(document.get("activation") or Activation.SOFTMAX, (Activation.SOFTMAX, Activation.SIGMOID)),
        opset=_optional(document.get("opset"), int),
        half_io=_typed(document.get("half_io", False), bool),
        deployment_target=_optional(document.get("deployment_target"), str),
        functions=tuple(
            (_length(height), _length(width)) for height, width in (each["resolution"] for each in functions)
        ),
        quantisation=_quantisation(document),
    )
    if functions and (functions[0]["resolution"], [each["name"] for each in functions]) != (
        resolution,
        list(target.of_functions()),
    ):
        raise ValueError("its functions are not what their names say")
    if (_length(classes) if task == "classify" else 0) != len(target.labels):
        raise ValueError(f"{len(target.labels)} labels")
    if version > 1 and document["labels_sha256"] != labels_sha256(target.labels):
        raise ValueError("other labels than were exported")
    weights = Weights(**{key: _typed(document["weights"][key], kind) for key, kind in _WEIGHTS.items()})
    return Manifest(
        model=model,
        target=target,
        weights=weights,
        preprocessing=preprocessing,
        num_classes=len(target.labels) or None,
        inputs=_ports(document["inputs"]),
        outputs=_ports(document["outputs"]),
        functions={
            each["name"]: frozenset((name, shape) for name, _, shape in _ports(each["inputs"])) for each in functions
        },
        operations=Counter(_typed(document["structure"]["operations"], dict)),
        status=_status(document),
        function_statuses=tuple(map(_status, functions)),
        tools={name: _typed(version, str) for name, version in _typed(document["tools"], dict).items()},
        document=document,
    )


def _status(document: Mapping[str, Any]) -> ParityStatus:
    return ParityStatus(document["parity"]["status"])


def _quantisation(document: Mapping[str, Any]) -> Quantisation | None:
    is_quantised = document["precision"] not in UNQUANTISED
    found = document.get("quantisation")
    if is_quantised != (found is not None):
        raise ValueError(f"{document['precision']} and its quantisation contradict each other")
    return Quantisation.parse(_typed(found, dict)) if is_quantised else None


def _model(name: str, height: int | None, width: int | None, preprocessing: Preprocessing) -> Model | None:
    """One of ours, or a network that goes by the size of its artifact; None for a name that is neither's."""
    return MODELS.get(name) or (named(name, (height, width), preprocessing) if height and width else None)


def _preprocessing(document: Mapping[str, Any]) -> Preprocessing:
    mean, std = (tuple(_number(value) for value in _typed(document[key], list)) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError("its preprocessing is not that of RGB")
    crop = _number(document["crop_fraction"])
    if not 0 < crop <= MAX_CROP_FRACTION:
        raise ValueError(f"the crop fraction {crop} is not above 0 and at most {MAX_CROP_FRACTION:g}")
    interpolation = _one_of(document["interpolation"], INTERPOLATIONS)
    crop_mode = _one_of(document.get("crop_mode", "center"), CROP_MODES)  # all were, once
    return Preprocessing(
        mean=mean,
        std=std,
        crop_fraction=crop,
        interpolation=interpolation,
        assumed=_typed(document["assumed"], bool),
        crop_mode=crop_mode,
    )


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _one_of(value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return str(value)


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _optional(value: Any, kind: type) -> Any:
    return None if value is None else _typed(value, kind)


def _length(value: Any) -> int:
    if type(value) is not int or value < 1:  # True is an int, too
        raise ValueError(f"{value!r} is no length")
    return value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
