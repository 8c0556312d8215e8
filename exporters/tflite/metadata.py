"""Write the metadata that MediaPipe Tasks and Android Studio read from a .tflite file: a flatbuffer inside the file.

No maintained package writes it without hundreds of megabytes of dependencies: tflite-support's last release is from
2023, and the writer of mediapipe 1.2 cannot be imported on Linux. So it is written here with flatbuffers, which
TensorFlow installs. The tables are one nested value, which ``_pack`` serialises.

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
"""Name of the buffer with the metadata."""

LABELS_FILE = "labels.txt"
"""The associated file with the names of the classes, one a line, in the order of the outputs."""

_FILE_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"  # no field here is newer

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
"""The fields of each table that are written here, in the schema's order, which is the order of their ids."""

_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # of the union ContentProperties
_NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions
_RGB = 1  # of ColorSpaceType
_TENSOR_AXIS_LABELS = 2  # of AssociatedFileType


@dataclass(frozen=True)
class _Table:
    """A table of the schema. A field is a string, a one-byte number, a list of floats, a table or a list of tables."""

    type: str
    fields: dict[str, Any]


def pack(name: str, info: ArtifactInfo) -> bytes:
    """Return the content of the metadata buffer.

    Args:
        name: Name of the model.
        info: Description of the artifact; inputs and outputs are in the order of the subgraph.
    """
    texts = describe_artifact(info)
    graph = _table(
        "SubGraphMetadata",
        input_tensor_metadata=[_image(spec, texts, info.preprocessing) for spec in info.signature.inputs],
        output_tensor_metadata=[_output(spec, texts, info.target) for spec in info.signature.outputs],
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
    """Return the associated files of a target by name."""
    return {LABELS_FILE: "".join(f"{label}\n" for label in target.labels).encode()} if target.labels else {}


def _image(spec: TensorSpec, texts: Descriptions, preprocessing: Preprocessing) -> _Table:
    """Describe the image input; the normalisation subtracts the mean from a pixel (0-255) and divides by std."""
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
    """Write a table after everything that it refers to, as flatbuffers requires, and return its offset."""
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
    """Write the target of a field's reference and return its offset."""
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
