"""Open the source model of an artifact, from its manifest, and check the hash of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.artifact.reading import Manifest
from evim_deploy.catalog.terms import ModelFamily
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.open import open_reference

if TYPE_CHECKING:
    from evim_deploy.networks.protocols import Reference


def open_origin(manifest: Manifest, artifact: Path, weights: str | None, notify: Callable[[str], None]) -> Reference:
    """Open the source model of an artifact, with its original weights.

    Args:
        manifest: The artifact's manifest.
        artifact: Its path.
        weights: The source of the weights in the form of ``--weights``; None for the one in the manifest, a file of
            which is searched in the working directory, then beside the artifact.
        notify: Called with one line before a step that takes time.

    Raises:
        BadInput: The weights cannot be opened, or are not those of the artifact.
        NotInstalled: A required package is missing.
    """
    spec = weights or _weights_spec(manifest.weights.source, artifact)
    try:
        reference = open_reference(manifest.model, spec, manifest.num_classes, notify)
    except BadInput as error:
        raise BadInput(
            f"The weights of {artifact} cannot be opened. {error.cause}",
            "Name them with --weights, or put their file beside the artifact.",
        ) from None
    opened = reference.weights
    if opened.sha256 != manifest.weights.sha256:
        raise BadInput(
            f"{artifact} was not made from {spec}: its sha256 is {opened.sha256[:12]}..., "
            f"not {manifest.weights.sha256[:12]}... of {manifest.weights.source}.",
            "Name the right weights with --weights.",
        )
    if opened.trained != manifest.weights.trained:
        raise BadInput(
            f"{artifact} is damaged: its metadata contradicts its weights on whether they were trained.",
            "Export it again.",
        )
    recorded, actual = asdict(manifest.preprocessing), asdict(reference.preprocessing)
    if differing := [key for key in actual if actual[key] != recorded[key]]:
        raise BadInput(
            f"The preprocessing of {artifact} differs from its network's: "
            + ", ".join(f"{key} {recorded[key]}, not {actual[key]}" for key in differing)
            + ".",
            "Export it again.",
        )
    return reference


def _weights_spec(source: str, artifact: Path) -> str:
    """A manifest's source of weights, or the path of a file of that name beside the artifact."""
    name = source.removeprefix(f"{ModelFamily.ONNX}:")
    beside = artifact.parent / name
    return str(beside) if beside.exists() and not Path(name).exists() else source
