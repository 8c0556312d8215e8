"""What an artifact is: what was asked for, what it takes and gives, and the manifest that says so."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evim_deploy.artifact.parity import Parity
from evim_deploy.catalog.model import Model
from evim_deploy.catalog.terms import Activation

if TYPE_CHECKING:
    from evim_deploy.artifact.quantisation import Quantisation
    from evim_deploy.images.preprocessing import Preprocessing

SCHEMA_VERSION = 2
"""Version of the manifest and of every ``--json`` document; it grows when a field changes its meaning."""

METADATA_KEY = "evim_deploy.manifest"
"""Where an artifact's own metadata holds its manifest, as JSON."""

LABELS_KEY = "evim_deploy.labels"
"""Where an artifact's own metadata holds its class labels, a JSON list."""

_UNTRAINED = "UNTRAINED"
"""In the name of a file."""

UNTRAINED_NOTICE = "UNTRAINED weights: good for latency and parity, its predictions mean nothing"

MANIFEST_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What one artifact is to be.

    Attributes:
        format: Name of a row in :data:`exporters.FORMATS`.
        precision: Of weights and computation, one that the format has.
        height: Image height in pixels, None for dynamic.
        width: Image width in pixels, None for dynamic.
        batch: Images in one prediction, None for dynamic.
        task: ``classify`` or ``features``.
        output: ``logits``, ``probabilities`` or, for dense features, ``features``.
        preprocess: Whether the input is RGB pixels 0-255 rather than a normalised tensor.
        labels: A name for each class; empty where the output is no classification.
        activation: Makes probabilities of a classifier's logits: ``softmax``, or ``sigmoid`` where each class has a
            probability of its own (multi-label).
        opset: ONNX's operator set; None for the format's usual one, and in other formats.
        half_io: Whether an fp16 ONNX file takes and gives float16, too, instead of float32.
        deployment_target: The oldest system that a Core ML package is for, ``iOS16`` to ``iOS18``; None for the
            format's usual one, and in other formats.
        functions: Height and width of each function of an artifact that has several, the default one, which is the
            target's own, first; empty where it has one function.
        quantisation: How it is quantised; None where it is not, or nobody has looked yet.
    """

    format: str
    precision: str
    height: int | None
    width: int | None
    batch: int | None
    task: str
    output: str
    preprocess: bool
    labels: tuple[str, ...]
    activation: str = Activation.SOFTMAX
    opset: int | None = None
    half_io: bool = False
    deployment_target: str | None = None
    functions: tuple[tuple[int, int], ...] = ()
    quantisation: Quantisation | None = None

    def __str__(self) -> str:
        size = "dynamic" if self.height is None else f"{self.height}x{self.width}"
        size = ", ".join(f"{height}x{width}" for height, width in self.functions) or size
        return f"{self.format} {self.precision} {size}"

    def of_functions(self) -> dict[str, Target]:
        """What each function of an artifact is, by its name in the file; the default one first."""
        return {
            f"size_{height}x{width}": replace(self, height=height, width=width, functions=())
            for height, width in self.functions
        }

    def pixels(self, native: int) -> int:
        """Of all images of a batch together, with sides of ``native`` pixels and one image where they are dynamic."""
        return (self.batch or 1) * (self.height or native) * (self.width or native)

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Least and greatest value that the input takes; None where it is normalised."""
        return (0.0, 255.0) if self.preprocess else None

    @property
    def output_range(self) -> tuple[float, float] | None:
        """Least and greatest value that the output takes; None where it has no bounds."""
        return (0.0, 1.0) if self.output == "probabilities" else None

    @property
    def resolution(self) -> list[int] | str:
        """[H, W], or ``"dynamic"``."""
        return "dynamic" if self.height is None or self.width is None else [self.height, self.width]


@dataclass(frozen=True)
class Weights:
    """Where an artifact's weights come from.

    Attributes:
        source: A file's name without its folder, ``hf:REPO/FILE``, ``timm:NAME``, ``package:digits`` or
            ``random:SEED``.
        trained: False for seeded weights, which mean nothing.
        sha256: Of the file, or for seeded weights of the values (hex).
        note: Why these weights, for people; may be empty.
    """

    source: str
    trained: bool
    sha256: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output: a dynamic axis is named instead of numbered; ``range`` is [least, greatest] or None."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str
    range: tuple[float, float] | None


@dataclass(frozen=True)
class Signature:
    """What an artifact takes and gives.

    Attributes:
        inputs: Of its default function.
        outputs: Likewise.
        functions: Each function's own, by its name, where there are several.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    functions: Mapping[str, Signature] = field(default_factory=dict)


@dataclass(frozen=True)
class Structure:
    """What an artifact's file is made of: operations by the format's own type names."""

    operations: Counter[str]
    transposes: int
    batch_norms: int

    @staticmethod
    def of(operations: Counter[str]) -> Structure:
        """Count transposes and BatchNorms by their names, as any of the formats spells them."""

        def count(word: str) -> int:
            return sum(number for op, number in operations.items() if op.replace("_", "").lower().startswith(word))

        return Structure(operations, count("transpose"), count("batchnorm"))


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """Everything that is known of an artifact before its file has a size and a hash.

    ``functions`` has the proof of each function where there are several; ``parity`` is the verdict of all.
    """

    model: Model
    target: Target
    weights: Weights
    preprocessing: Preprocessing
    contract: Signature
    structure: Structure
    parity: Parity
    rewrites: tuple[Mapping[str, Any], ...]
    tools: Mapping[str, str]
    functions: Mapping[str, Parity] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        target = self.target
        return {
            "schema_version": SCHEMA_VERSION,
            "format": target.format,
            "precision": target.precision,
            "model": self.model.name,
            "task": target.task,
            "output": target.output,
            "resolution": target.resolution,
            "batch": "dynamic" if target.batch is None else target.batch,
            "preprocess": target.preprocess,
            "opset": target.opset,
            "half_io": target.half_io,
            "deployment_target": target.deployment_target,
            "quantisation": target.quantisation and target.quantisation.to_dict(),
            "num_classes": len(target.labels) or None,
            "activation": target.activation if target.labels else None,
            "labels_sha256": labels_sha256(target.labels),
            "preprocessing": asdict(self.preprocessing),
            "weights": asdict(self.weights),
            "inputs": [asdict(spec) for spec in self.contract.inputs],
            "outputs": [asdict(spec) for spec in self.contract.outputs],
            "structure": {**asdict(self.structure), "operations": dict(sorted(self.structure.operations.items()))},
            "parity": self.parity.to_dict(),
            "functions": [self._function(name, parity) for name, parity in self.functions.items()],
            "rewrites": [dict(rewrite) for rewrite in self.rewrites],
            "tools": dict(self.tools),
        }

    def _function(self, name: str, parity: Parity) -> dict[str, Any]:
        contract = self.contract.functions[name]
        return {
            "name": name,
            "resolution": self.target.of_functions()[name].resolution,
            "inputs": [asdict(spec) for spec in contract.inputs],
            "outputs": [asdict(spec) for spec in contract.outputs],
            "parity": parity.to_dict(),
        }


def embedded(document: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as it stands inside of an artifact: without what depends on the host that made it.

    The figures of a proof depend on the host's threads and engine, and so does the reason why no trained weights were
    found. The manifest beside the artifact has both.
    """
    weights = document["weights"]
    return {
        **document,
        "weights": weights if weights["trained"] else {**weights, "note": ""},
        "parity": _verdict(document["parity"]),
        "functions": [{**each, "parity": _verdict(each["parity"])} for each in document.get("functions", [])],
    }


def _verdict(parity: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": parity["status"]}


def labels_sha256(labels: Sequence[str]) -> str | None:
    """Of the labels as a JSON list (hex); None where there are none."""
    return hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest() if labels else None


def file_stem(model: Model, target: Target, weights: Weights, usual_output: str) -> str:
    """Name of an artifact without its suffix: what is unusual about it, and whether its weights are untrained."""
    batch = "dynamic" if target.batch is None else target.batch
    sizes = target.functions or [(target.height, target.width)]
    parts = [
        model.stem,
        *([] if weights.trained or _UNTRAINED in model.stem else [_UNTRAINED, weights.source.replace(":", "")]),
        "dynamic" if target.height is None else "_".join(f"{h}x{w}" for h, w in sizes),
        target.precision,
        *([] if batch == 1 else [f"batch-{batch}"]),
        *([] if target.output == usual_output else [target.output]),
        *([] if target.preprocess else ["normalised-input"]),
        *([] if target.opset is None else [f"opset-{target.opset}"]),
        *(["half-io"] if target.half_io else []),
        *([] if target.deployment_target is None else [target.deployment_target]),
    ]
    return "_".join(parts)


def describe(model: Model, target: Target, weights: Weights) -> str:
    """One sentence on an artifact, for its metadata."""
    outputs = "dense features at strides 16, 32 and 64" if target.task == "features" else target.output
    notice = "" if weights.trained else f" {UNTRAINED_NOTICE} ({weights.source})."
    return f"{model.name}, {target.precision}, {outputs}.{notice}"
