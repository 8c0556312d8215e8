"""An ONNX file that this project exported, as a source: its own manifest says how its images are made of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy.artifact.manifest import Manifest, changed_ports, embedded_manifest
from evim_deploy.artifact.target import METADATA_KEY
from evim_deploy.common.errors import BadInput
from evim_deploy.formats import ModelFile
from evim_deploy.images.preprocessing import Preprocessing, of_pixels


@dataclass(frozen=True)
class Own:
    """What such a file says of itself.

    Attributes:
        preprocessing: How its images are made: of a file that takes pixels 0-255 these as they are.
        labels: Names of its classes.
        size: Height and width of the images that its network is made for, pixels.
        trained: Whether its weights are trained.
    """

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    size: tuple[int, int]
    trained: bool


def read_own(found: ModelFile, path: Path) -> Own | None:
    """What a file says; None for a file that somebody else made, or whose inputs or outputs were changed since.

    Raises:
        BadInput: Its manifest is damaged, or it is no network in float32.
    """
    if METADATA_KEY not in found.metadata:
        return None
    manifest = embedded_manifest(found.metadata, path)
    if changed_ports(manifest, found):
        return None
    _check(manifest, path)
    how, side = manifest.preprocessing, manifest.model.resolution
    return Own(
        of_pixels(how) if manifest.target.preprocess else how,
        manifest.target.labels,
        (side, side),
        manifest.weights.trained,
    )


def _check(manifest: Manifest, path: Path) -> None:
    target, source = manifest.target, f"{manifest.model.name} (weights {manifest.weights.source})"
    if target.task != "classify":
        raise BadInput(f"{path} gives dense features, no classes.", f"Export {source} with `--task classify`.")
    if target.precision != "fp32":
        kind = "in half precision" if target.precision == "fp16" else f"quantised ({target.precision})"
        raise BadInput(f"{path} is {kind}.", f"Name its fp32 file, or what it was made from: {source}.")
