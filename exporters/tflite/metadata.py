"""The metadata by which MediaPipe Tasks and Android Studio use a .tflite file: a flatbuffer of its own inside it.

No package that is kept up writes it without hundreds of megabytes that an export does not need: tflite-support's last
release is of 2023, and the writer of mediapipe 1.2 does not import on Linux. So it is written here, by flatbuffers
alone, which TensorFlow brings. What the tables hold is one nested value; ``_pack`` lays any of them out.

Source: mediapipe/tasks/metadata/metadata_schema.fbs in https://github.com/google-ai-edge/mediapipe, version 1.5.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from evim_deploy.artifact.descriptions import Descriptions, describe_artifact
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import TensorSpec
from evim_deploy.artifact.target import Target
from evim_deploy.images.preprocessing import Preprocessing

METADATA_NAME = "TFLITE_METADATA"
"""Of the buffer that holds it."""

LABELS_FILE = "labels.txt"
"""The associated file that names the classes, one a line, in the order of the outputs."""

_FILE_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"  # none of these fields came later

_FIELDS = {
    "ModelMetadata": (
        "name",
        "description",
        "version",
        "subgraph_metadata",
        "author",
        "license",
        "associated_files",
        "min_parser_version",
    ),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata", "output_tensor_metadata"),
    "TensorMetadata": (
        "name",
        "description",
        "dimension_names",
        "content",
        "process_units",
        "stats",
        "associated_files",
    ),
    "Content": ("content_properties_type", "content_properties"),
    "ImageProperties": ("color_space",),
    "FeatureProperties": (),
    "ProcessUnit": ("options_type", "options"),
    "NormalizationOptions": ("mean", "std"),
    "Stats": ("max", "min"),
    "AssociatedFile": ("name", "description", "type"),
}
"""The fields of each table in the order of the schema, which is that of their ids, as far as they are written here."""

_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # of the union ContentProperties
_NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions
_RGB = 1  # of ColorSpaceType
_TENSOR_AXIS_LABELS = 2  # of AssociatedFileType


@dataclass(frozen=True)
class _Table:
    """A table of the schema: text, numbers of one byte, lists of floats, other tables or lists of them, by field."""

    type: str
    fields: dict[str, Any]


def pack(name: str, facts: ArtifactInfo) -> bytes:
    """The content of the buffer.

    Args:
        name: Of the model.
        facts: What is known of it, inputs and outputs in the order of the subgraph.
    """
    texts = describe_artifact(facts)
    graph = _table(
        "SubGraphMetadata",
        input_tensor_metadata=[_image(spec, texts, facts.preprocessing) for spec in facts.signature.inputs],
        output_tensor_metadata=[_output(spec, texts, facts.target) for spec in facts.signature.outputs],
    )
    model = _table(
        "ModelMetadata",
        name=name,
        description=texts.description,
        version=texts.version,
        subgraph_metadata=[graph],
        author=texts.author,
        license=texts.licence,
        min_parser_version=_MIN_PARSER_VERSION,
    )
    builder = flatbuffers.Builder()
    builder.Finish(_pack(builder, model), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def associated_files(target: Target) -> dict[str, bytes]:
    """What goes with the metadata into a file, by its name there."""
    return {LABELS_FILE: "".join(f"{label}\n" for label in target.labels).encode()} if target.labels else {}


def _image(spec: TensorSpec, texts: Descriptions, preprocessing: Preprocessing) -> _Table:
    """What is to be done to a pixel from 0 to 255 before it goes in: subtract the mean, then divide."""
    mean, std = [0.0], [1.0]
    if spec.range is None:
        mean, std = ([255 * value for value in values] for values in (preprocessing.mean, preprocessing.std))
    return _tensor(
        spec,
        texts,
        _table("Content", content_properties_type=_IMAGE_PROPERTIES, content_properties=_IMAGE),
        process_units=[
            _table(
                "ProcessUnit",
                options_type=_NORMALIZATION_OPTIONS,
                options=_table("NormalizationOptions", mean=mean, std=std),
            )
        ],
    )


def _output(spec: TensorSpec, texts: Descriptions, target: Target) -> _Table:
    labels = _table("AssociatedFile", name=LABELS_FILE, description="A name for each class.", type=_TENSOR_AXIS_LABELS)
    return _tensor(
        spec,
        texts,
        _table("Content", content_properties_type=_FEATURE_PROPERTIES, content_properties=_table("FeatureProperties")),
        **({"associated_files": [labels]} if target.labels else {}),
    )


def _tensor(spec: TensorSpec, texts: Descriptions, content: _Table, **fields: Any) -> _Table:
    if spec.range is not None:
        least, greatest = spec.range
        fields["stats"] = _table("Stats", max=[greatest], min=[least])
    return _table("TensorMetadata", name=spec.name, description=texts.ports[spec.name], content=content, **fields)


def _table(type_: str, **fields: Any) -> _Table:
    return _Table(type_, fields)


_IMAGE = _table("ImageProperties", color_space=_RGB)


def _pack(builder: Any, table: _Table) -> Any:
    """Write a table after all that it refers to, as flatbuffers want it; its offset."""
    offsets = {name: _refer(builder, value) for name, value in table.fields.items() if not isinstance(value, int)}
    fields = _FIELDS[table.type]
    builder.StartObject(len(fields))
    for name, value in table.fields.items():
        if isinstance(value, int):
            builder.PrependInt8Slot(fields.index(name), value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(fields.index(name), offsets[name], 0)
    return builder.EndObject()


def _refer(builder: Any, value: Any) -> Any:
    """Write what a field refers to; its offset."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, _Table):
        return _pack(builder, value)
    if isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, np.float32))
    offsets = [_pack(builder, each) for each in value]
    builder.StartVector(4, len(offsets), 4)  # of offsets, 4 bytes each
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
