"""What an artifact was made from: found again by what its manifest says, and held against its hash."""

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
    """The network that an artifact was made from, with the weights that it was made from.

    Args:
        manifest: The artifact's.
        artifact: As messages name it.
        weights: As ``--weights`` takes it; None for where the manifest says that they came from. A file of that name is
            looked for in the working directory, then beside the artifact.
        notify: Told in one line of what takes time.

    Raises:
        BadInput: Its weights cannot be had, or are not those that it was made from.
        NotInstalled: A package that they need is missing.
    """
    spec = weights or _where(manifest.weights.source, artifact)
    try:
        reference = open_reference(manifest.model, spec, manifest.num_classes, notify)
    except BadInput as error:
        raise BadInput(
            f"The weights that {artifact} was made from cannot be had. {error.cause}",
            "Name them with --weights, or put their file beside the artifact.",
        ) from None
    found = reference.weights
    if found.sha256 != manifest.weights.sha256:
        raise BadInput(
            f"{spec} is not what {artifact} was made from: its sha256 is {found.sha256[:12]}..., "
            f"not {manifest.weights.sha256[:12]}... of {manifest.weights.source}.",
            "Name the right weights with --weights.",
        )
    if found.trained != manifest.weights.trained:
        raise BadInput(
            f"{artifact} is damaged: its metadata contradicts its weights on whether they were trained.",
            "Export it again.",
        )
    theirs, ours = asdict(manifest.preprocessing), asdict(reference.preprocessing)
    if differing := [key for key in ours if ours[key] != theirs[key]]:
        raise BadInput(
            f"{artifact} says another preprocessing than its network's: "
            + ", ".join(f"{key} {theirs[key]}, not {ours[key]}" for key in differing)
            + ".",
            "Export it again.",
        )
    return reference


def _where(source: str, artifact: Path) -> str:
    """What a manifest's weights are opened by: itself, or the path of a file of that name beside the artifact."""
    name = source.removeprefix(f"{ModelFamily.ONNX}:")
    beside = artifact.parent / name
    return str(beside) if beside.exists() and not Path(name).exists() else source
