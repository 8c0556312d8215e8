"""An ONNX file that this project exported, as a source model: its manifest states the preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy.artifact.changes import changed_ports
from evim_deploy.artifact.metadata import METADATA_KEY
from evim_deploy.artifact.reading import Manifest, embedded_manifest
from evim_deploy.catalog.terms import Precision, Task
from evim_deploy.common.errors import BadInput
from evim_deploy.formats import ModelFile
from evim_deploy.images.preprocessing import Preprocessing, without_normalisation


@dataclass(frozen=True)
class OwnFile:
    """The facts in such a file's manifest.

    Attributes:
        preprocessing: Preprocessing of its input images; the identity for a file whose input is pixels 0-255.
        labels: Class names.
        size: Native height and width of its network's input images, pixels.
        trained: Whether its weights are trained.
    """

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    size: tuple[int, int]
    trained: bool


def read_own(contents: ModelFile, path: Path) -> OwnFile | None:
    """The facts in a file's manifest; None for another tool's file, or where its inputs or outputs were changed.

    Raises:
        BadInput: Its manifest is damaged, or it is not a classifier in float32.
    """
    if METADATA_KEY not in contents.metadata:
        return None
    manifest = embedded_manifest(contents.metadata, path)
    if changed_ports(manifest, contents):
        return None
    _check(manifest, path)
    how, side = manifest.preprocessing, manifest.model.resolution
    return OwnFile(
        without_normalisation(how) if manifest.target.preprocess else how,
        manifest.target.labels,
        (side, side),
        manifest.weights.trained,
    )


def _check(manifest: Manifest, path: Path) -> None:
    target, source = manifest.target, f"{manifest.model.name} (weights {manifest.weights.source})"
    if target.task != Task.CLASSIFY:
        raise BadInput(f"{path} dense features as outputs, no classes.", f"Export {source} with `--task classify`.")
    if target.precision != Precision.FP32:
        kind = "in half precision" if target.precision == Precision.FP16 else f"quantised ({target.precision})"
        raise BadInput(f"{path} is {kind}.", f"Name its fp32 file, or what it was made from: {source}.")
