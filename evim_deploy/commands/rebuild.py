"""Make an artifact again from its manifest and its weights, and compare the two byte by byte.

All options are in the manifest, the grids of quantised values too, so no calibration images are needed. The verdict of
the proof and the versions of the tools are copied from it: where other versions write the same network alike, the bytes
are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import exporters
from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.parity import Parity
from evim_deploy.artifact.reading import Manifest
from evim_deploy.commands.build import annotate, build, file_name
from evim_deploy.common.errors import EvimError, NotRunHere, ParityFailed
from evim_deploy.common.publish import members, staging
from evim_deploy.common.system_errors import temporary_folder

if TYPE_CHECKING:
    from evim_deploy.networks.protocols import Reference

SAME, DIFFERENT, NOT_COMPARABLE = "same", "different", "not_comparable"

_BLOCK_BYTES = 1 << 24
_MOST_NAMED = 3


@dataclass(frozen=True)
class Difference:
    """A file in which two artifacts differ.

    Attributes:
        file: Its name, in a package its path there.
        offset: Of the first byte that differs, or where the shorter one ends; None where only one has this file.
    """

    file: str
    offset: int | None

    def __str__(self) -> str:
        return f"{self.file} from byte {self.offset}" if self.offset is not None else f"only one has {self.file}"


@dataclass(frozen=True)
class Rebuild:
    """An artifact beside the one that was made again.

    Attributes:
        differences: The files that are not the same; empty where all are.
        versions: What is of another version here than when the artifact was made: then and now, None where it is
            missing.
    """

    differences: tuple[Difference, ...]
    versions: Mapping[str, tuple[str | None, str | None]]

    @property
    def status(self) -> str:
        """``same``, ``different``, or ``not_comparable``: other versions may write other bytes."""
        if not self.differences:
            return SAME
        return NOT_COMPARABLE if self.versions else DIFFERENT

    def __str__(self) -> str:
        if not self.differences:
            return "the same to the byte" + (f", although made by {self._told_versions()}" if self.versions else "")
        more = len(self.differences) - _MOST_NAMED
        named = "; ".join(map(str, self.differences[:_MOST_NAMED])) + (f"; {more} more files" if more > 0 else "")
        return f"different ({named})" + (f"; made by {self._told_versions()}" if self.versions else "")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "status": self.status,
            "summary": str(self),
            "differences": [{"file": each.file, "offset": each.offset} for each in self.differences],
            "versions": {name: {"then": then, "now": now} for name, (then, now) in self.versions.items()},
        }

    def problem(self, artifact: Path) -> EvimError | None:
        """What it comes to, as the error that ends a command; None where nothing is wrong."""
        if self.status == SAME:
            return None
        cause = f"{artifact} was made again, and is {self}."
        if self.status == NOT_COMPARABLE:
            return NotRunHere(cause, "Other versions may write other bytes: rebuild it with those that it was made by.")
        return ParityFailed(cause, "Use an unchanged copy; where a fresh export differs again, please report it.")

    def _told_versions(self) -> str:
        return ", ".join(
            f"{name} {then or 'unknown'} then, {now or 'missing'} now" for name, (then, now) in self.versions.items()
        )


def rebuild(artifact: Path, manifest: Manifest, reference: Reference) -> Rebuild:
    """Make an artifact again, in a temporary folder.

    Args:
        artifact: Its file or package.
        manifest: The one inside of it.
        reference: What it was made from, with the weights of the manifest.

    Raises:
        BadInput: The network cannot be written here, or the disk is full.
        NotInstalled: A package that writes the format is missing.
    """
    model, target = manifest.model, manifest.target
    exporters.require(exporters.FORMATS[target.format], model.kind)
    with staging(temporary_folder()) as folder:
        again = folder / file_name(model, target, manifest.weights)
        facts = build(model, reference, target, again)
        annotate(_as_then(facts, manifest), again)
        return Rebuild(tuple(differences(artifact, again)), _other_versions(manifest, facts))


def differences(artifact: Path, other: Path) -> Iterator[Difference]:
    """The files of an artifact that are not those of another one, in order of their names."""
    ours, theirs = members(artifact), members(other)
    for key in sorted(ours.keys() | theirs.keys()):
        name = key if artifact.is_dir() else artifact.name + key
        if key not in ours or key not in theirs:
            yield Difference(name, None)
        elif (offset := _first_difference(ours[key], theirs[key])) is not None:
            yield Difference(name, offset)


def _first_difference(one: Path, other: Path) -> int | None:
    start = 0
    with one.open("rb") as ours, other.open("rb") as theirs:
        while True:
            a, b = (np.frombuffer(file.read(_BLOCK_BYTES), np.uint8) for file in (ours, theirs))
            length = min(len(a), len(b))
            if (unequal := a[:length] != b[:length]).any():
                return start + int(unequal.argmax())
            if len(a) != len(b):
                return start + length
            if not length:
                return None
            start += length


def _as_then(facts: ArtifactInfo, manifest: Manifest) -> ArtifactInfo:
    """Facts with what the manifest says of the weights' origin, of the proof and of the tools."""
    statuses = zip(facts.functions, manifest.function_statuses, strict=True)
    return replace(
        facts,
        weights=manifest.weights,
        parity=Parity(status=manifest.status, reason=""),
        functions={name: Parity(status=status, reason="") for name, status in statuses},
        tools=manifest.tools,
    )


def _other_versions(manifest: Manifest, facts: ArtifactInfo) -> dict[str, tuple[str | None, str | None]]:
    then = {**manifest.tools, "manifest": str(manifest.document["schema_version"])}
    now = {**facts.tools, "manifest": str(SCHEMA_VERSION)}
    return {name: (then.get(name), now.get(name)) for name in {**then, **now} if then.get(name) != now.get(name)}
