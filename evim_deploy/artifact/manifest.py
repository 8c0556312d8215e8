"""The schema of a manifest: the JSON document in an artifact's metadata and, with more detail, in the file beside it.

One set of models writes, reads and validates it. ``manifest.schema.json`` beside this module is its JSON Schema;
``python -m evim_deploy.artifact.manifest`` writes that file again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PlainSerializer, PositiveInt, model_validator

from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.artifact.signature import Signature
from evim_deploy.catalog.terms import UNQUANTISED, Activation, ArtifactFormat, Output, Precision, Task
from evim_deploy.images.preprocessing import MAX_CROP_FRACTION, PAPER, CropMode, Interpolation

SCHEMA_FILE = Path(__file__).with_name("manifest.schema.json")

OUTPUTS = {Task.CLASSIFY: (Output.LOGITS, Output.PROBABILITIES), Task.FEATURES: (Output.FEATURES,)}
"""The outputs that an artifact of each task can have."""

Json = dict[str, object]
"""A JSON object that this schema does not describe further."""

_Value = TypeVar("_Value")
_FromJson = Annotated[_Value, Field(strict=False)]
"""A tuple, list or enum, which JSON has as a list or a string; the values inside are strict all the same."""

_Size = Annotated[_FromJson[tuple[PositiveInt, PositiveInt]], PlainSerializer(list, return_type=list[int])]


class _Entry(BaseModel):
    """A part of the manifest: frozen and strict; keys of a newer evim-deploy are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class WeightsEntry(_Entry):
    """Source of the weights."""

    source: str
    """File name without its folder, ``hf:REPO/FILE``, ``timm:NAME``, ``package:digits`` or ``random:SEED``."""
    trained: bool
    """False for seeded weights."""
    sha256: str
    """Hash of the file, or of the values for seeded weights (hex)."""
    note: str
    """Reason for these weights; may be empty."""


class PreprocessingEntry(_Entry):
    """Preprocessing of images."""

    mean: _FromJson[tuple[float, float, float]]
    """Mean of RGB in units of 255, which is subtracted."""
    std: _FromJson[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]]
    """Standard deviation of RGB in units of 255, the divisor."""
    crop_fraction: Annotated[float, Field(gt=0, le=MAX_CROP_FRACTION)]
    """Cropped share of the resized image's sides; above 1 a border is added."""
    interpolation: _FromJson[Interpolation]
    assumed: bool
    """True where nothing states the preprocessing of the network."""
    crop_mode: _FromJson[CropMode] = CropMode.CENTER


class TensorEntry(_Entry):
    """An input or output."""

    name: str
    shape: _FromJson[tuple[int | str, ...]]
    """Lengths of the axes; a dynamic axis has a name instead of a length."""
    dtype: str
    """Element type, or ``image``, ``string`` or ``dictionary``."""
    layout: str
    """Meaning of the axes, for example ``NCHW``."""
    range: _FromJson[tuple[float, float]] | None
    """Smallest and largest value; null where the values are not bounded."""


class StructureEntry(_Entry):
    """The operations in the artifact's file."""

    operations: dict[str, int]
    """Number of operations by the format's own type names."""
    transposes: int
    batch_norms: int


class ParityEntry(_Entry):
    """The proof: its status inside an artifact, and all of :class:`~evim_deploy.artifact.parity.Parity` beside it."""

    model_config = ConfigDict(extra="allow")

    status: _FromJson[ParityStatus]


class CalibrationEntry(_Entry):
    """The images that the quantisation was calibrated on."""

    source: str
    """Name of a folder or file without the folders above it, or of pictures that ship with the package."""
    images: int
    """Number of images used."""
    skipped: _FromJson[list[str]]
    """Names of files that are not images, or damaged."""


class QuantisationEntry(_Entry):
    """The results of calibration: with them the same network is quantised again, without the images."""

    calibration: CalibrationEntry | None
    """Null where no images were needed."""
    exponents: dict[str, _FromJson[list[int]]]
    """Cross-layer equalisation: powers of two that divide the output channels of a convolution, by its name."""
    grids: dict[str, _FromJson[tuple[float, int, int, int]]]
    """Quantisation parameters by the name of a value: scale, zero point, smallest and largest integer."""
    sensitivity: dict[str, float | None]
    """Signal to noise of the outputs where one layer alone is quantised, dB, by its name; null where infinite."""
    kept: _FromJson[list[str]]
    """Layers in floating point."""
    allowed_loss: int | float | None
    """Percent of the calibration images whose prediction may change; null where no limit was given."""
    loss: int | float | None
    """Percent of the calibration images whose prediction changes; null where no limit was given."""


class FunctionEntry(_Entry):
    """One function of an artifact that has several."""

    name: str
    resolution: _Size
    """Height and width of its images, pixels."""
    inputs: _FromJson[list[TensorEntry]]
    outputs: _FromJson[list[TensorEntry]]
    parity: ParityEntry


class ManifestDocument(_Entry):
    """The manifest of an artifact."""

    model_config = ConfigDict(title="Manifest")

    artifact: str = ""
    """Name of the file or package; only in the manifest beside it."""
    size_bytes: NonNegativeInt = 0
    """Size of the file or package, bytes; only in the manifest beside it."""
    sha256: str = ""
    """Hash of the file or package (hex); only in the manifest beside it."""
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
    format: _FromJson[ArtifactFormat]
    precision: _FromJson[Precision]
    """Precision of weights and computation."""
    model: str
    """Canonical name of the network, for example ``efficientvim_m4``, ``timm:NAME`` or ``onnx:FILE``."""
    task: _FromJson[Task]
    output: _FromJson[Output]
    resolution: _Size | Literal["dynamic"]
    """Height and width of the images, pixels."""
    batch: PositiveInt | Literal["dynamic"]
    """Images in one prediction."""
    preprocess: bool
    """True where the input is RGB pixels 0-255 rather than a normalised tensor."""
    opset: int | None = None
    """ONNX's operator set; null for the usual one, and in other formats."""
    half_io: bool = False
    """True where an fp16 ONNX file has float16 inputs and outputs."""
    deployment_target: str | None = None
    """Oldest system that a Core ML package runs on; null for the usual one, and in other formats."""
    quantisation: QuantisationEntry | None = None
    """Null where the network is not quantised."""
    num_classes: PositiveInt | None
    """Number of classes; null for features."""
    activation: _FromJson[Activation] | None = None
    """Function from logits to probabilities; null for features."""
    labels_sha256: str | None = None
    """Hash of the labels as a JSON list (hex); null for features, absent in schema version 1."""
    preprocessing: PreprocessingEntry = PreprocessingEntry.model_validate(asdict(PAPER))
    """Absent in schema version 1, which has EfficientViM alone."""
    weights: WeightsEntry
    inputs: _FromJson[list[TensorEntry]]
    outputs: _FromJson[list[TensorEntry]]
    structure: StructureEntry
    parity: ParityEntry
    functions: _FromJson[list[FunctionEntry]] = []
    """Functions of an artifact that has several, the default one first."""
    rewrites: _FromJson[list[Json]] = []
    """The rewrites of the network that were tried: how often each applied, or the reason why not."""
    tools: dict[str, str]
    """Versions of the packages that made the artifact, by name."""

    @model_validator(mode="after")
    def _check_agreement(self) -> ManifestDocument:
        if self.output not in OUTPUTS[self.task]:
            raise ValueError(f"the output {self.output} does not belong to the task {self.task}")
        if (self.precision in UNQUANTISED) != (self.quantisation is None):
            raise ValueError(f"precision {self.precision} contradicts the entry quantisation")
        if (self.task == Task.CLASSIFY) != (self.num_classes is not None):
            raise ValueError(f"the task {self.task} contradicts the entry num_classes")
        if self.schema_version > 1 and "labels_sha256" not in self.model_fields_set:
            raise ValueError("labels_sha256 is missing")
        return self

    @staticmethod
    def of(info: ArtifactInfo) -> ManifestDocument:
        """The manifest of an artifact, without the entries on its file."""
        target, signature = info.target, info.signature
        return ManifestDocument.model_validate(
            {
                "schema_version": SCHEMA_VERSION,
                "format": target.format,
                "precision": target.precision,
                "model": info.model.name,
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
                "preprocessing": asdict(info.preprocessing),
                "weights": asdict(info.weights),
                **_ports(signature),
                "structure": {**asdict(info.structure), "operations": dict(sorted(info.structure.operations.items()))},
                "parity": info.parity.to_dict(),
                "functions": [
                    {
                        "name": name,
                        "resolution": target.of_functions()[name].resolution,
                        **_ports(signature.functions[name]),
                        "parity": parity.to_dict(),
                    }
                    for name, parity in info.functions.items()
                ],
                "rewrites": [dict(rewrite) for rewrite in info.rewrites],
                "tools": dict(info.tools),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """The entries that were given, in the schema's order; ``json.dumps`` writes all of the values."""
        return self.model_dump(exclude_unset=True)


def _ports(signature: Signature) -> dict[str, list[dict[str, Any]]]:
    return {
        "inputs": [asdict(spec) for spec in signature.inputs],
        "outputs": [asdict(spec) for spec in signature.outputs],
    }


def embedded(document: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as it stands inside an artifact: without the entries that depend on the host that made it.

    The figures of a proof depend on the host's threads and engine, and so does the reason for untrained weights. The
    manifest beside the artifact has both.
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
    """Hash of the labels as a JSON list (hex); None where there are none."""
    return hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest() if labels else None


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a manifest."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ManifestDocument.model_json_schema()}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n", "utf-8")
