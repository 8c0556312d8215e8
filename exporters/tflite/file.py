"""Read and write a .tflite file: a flatbuffer, followed by a zip archive of its associated files.

Engines read only the flatbuffer. The archive holds the label files of TFLite's metadata:
https://ai.google.dev/edge/litert/models/metadata
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from evim_deploy.formats.tflite_writer import pack

_DATE = (1980, 1, 1, 0, 0, 0)  # the first date of zip; a fixed one, so that the same model gives the same file


def parse(content: bytes) -> Any:
    """Parse a flatbuffer into mutable objects; the archive behind it is ignored."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def read_files(path: Path) -> dict[str, bytes]:
    """Return the associated files of a .tflite file by name."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, model: Any, files: Mapping[str, bytes]) -> None:
    """Write a flatbuffer and its associated files, uncompressed."""
    path.write_bytes(pack(model))
    if files:
        with zipfile.ZipFile(path, "a") as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), content)


def put_metadata(model: Any, name: str, content: bytes) -> None:
    """Add a named buffer to a model, or replace the buffer of that name."""
    model.metadata = model.metadata or []
    entry = next((each for each in model.metadata if each.name.decode() == name), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    model.buffers[entry.buffer].data = np.frombuffer(content, dtype=np.uint8)


def sign(model: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """Add the signature to a model, and rename its tensors (given by index) to the names of the signature."""
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs, signature.outputs = _entries(model, inputs), _entries(model, outputs)
    model.signatureDefs = [signature]


def _entries(model: Any, tensors: Mapping[str, int]) -> list[Any]:
    entries = []
    for name, index in tensors.items():
        model.subgraphs[0].tensors[index].name = name
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        entries.append(entry)
    return entries
