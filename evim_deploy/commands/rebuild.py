"""Build an artifact again from its manifest and its weights, and compare the two byte by byte.

The manifest has all options and the quantisation parameters, so no calibration images are needed. The status of the
proof and the versions of the tools are copied from the manifest: if other versions write the same network in the same
way, the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

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

_BLOCK_BYTES = 1 << 24
_MOST_NAMED = 3


class RebuildStatus(StrEnum):
    """The outcome of a comparison; other versions may write other bytes, which makes a difference not comparable."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True)
class FileDifference:
    """A file in which two artifacts differ.

    Attributes:
        file: The name of the file, or its path in the package.
        offset: The first byte that differs, or the end of the shorter file; None if only one artifact has the file.
    """

    file: str
    offset: int | None

    def __str__(self) -> str:
        return f"{self.file} from byte {self.offset}" if self.offset is not None else f"only one has {self.file}"


@dataclass(frozen=True)
class Rebuild:
    """An artifact compared with a fresh build.

    Attributes:
        differences: The files that differ; empty if the artifacts are the same.
        versions: The tools whose versions differ: the version that made the artifact and the version here, None if
            the tool is missing.
    """

    differences: tuple[FileDifference, ...]
    versions: Mapping[str, tuple[str | None, str | None]]

    @property
    def status(self) -> RebuildStatus:
        if not self.differences:
            return RebuildStatus.SAME
        return RebuildStatus.NOT_COMPARABLE if self.versions else RebuildStatus.DIFFERENT

    def __str__(self) -> str:
        if not self.differences:
            return "identical bytes" + (
                f", although other versions made it ({self._describe_versions()})" if self.versions else ""
            )
        more = len(self.differences) - _MOST_NAMED
        named = "; ".join(map(str, self.differences[:_MOST_NAMED])) + (f"; {more} more files" if more > 0 else "")
        return f"different ({named})" + (
            f"; other versions made it ({self._describe_versions()})" if self.versions else ""
        )

    def to_dict(self) -> dict[str, object]:
        """The comparison as plain JSON values."""
        return {
            "status": self.status,
            "summary": str(self),
            "differences": [{"file": each.file, "offset": each.offset} for each in self.differences],
            "versions": {name: {"then": then, "now": now} for name, (then, now) in self.versions.items()},
        }

    def problem(self, artifact: Path) -> EvimError | None:
        """The error that ends a command; None if the artifacts are the same."""
        if self.status == RebuildStatus.SAME:
            return None
        cause = f"The rebuild of {artifact} is {self}."
        if self.status == RebuildStatus.NOT_COMPARABLE:
            return NotRunHere(cause, "Other versions may write other bytes: rebuild it with the versions that made it.")
        return ParityFailed(cause, "Use an unchanged copy; if a fresh export differs again, please report it.")

    def _describe_versions(self) -> str:
        return ", ".join(
            f"{name} {then or 'unknown'} then, {now or 'missing'} now" for name, (then, now) in self.versions.items()
        )


def rebuild(artifact: Path, manifest: Manifest, reference: Reference) -> Rebuild:
    """Build an artifact again in a temporary folder, and compare the two.

    Args:
        artifact: The file or package.
        manifest: The manifest in the artifact.
        reference: The network that the artifact was made from, with the weights of the manifest.

    Raises:
        BadInput: The network cannot be written here, or the disk is full.
        NotInstalled: A package that writes the format is missing.
    """
    model, target = manifest.model, manifest.target
    exporters.require(exporters.FORMATS[target.format], model.kind)
    with staging(temporary_folder()) as folder:
        fresh = folder / file_name(model, target, manifest.weights)
        info = build(model, reference, target, fresh)
        annotate(_with_history(info, manifest), fresh)
        return Rebuild(tuple(differences(artifact, fresh)), _other_versions(manifest, info))


def differences(artifact: Path, other: Path) -> Iterator[FileDifference]:
    """The files in which two artifacts differ, in the order of their names."""
    ours, theirs = members(artifact), members(other)
    for key in sorted(ours.keys() | theirs.keys()):
        name = key if artifact.is_dir() else artifact.name + key
        if key not in ours or key not in theirs:
            yield FileDifference(name, None)
        elif (offset := _first_difference(ours[key], theirs[key])) is not None:
            yield FileDifference(name, offset)


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


def _with_history(info: ArtifactInfo, manifest: Manifest) -> ArtifactInfo:
    """An artifact's description with the manifest's source of the weights, proof status and tools."""
    statuses = zip(info.functions, manifest.function_statuses, strict=True)
    return replace(
        info,
        weights=manifest.weights,
        parity=Parity(status=manifest.status, reason=""),
        functions={name: Parity(status=status, reason="") for name, status in statuses},
        tools=manifest.tools,
    )


def _other_versions(manifest: Manifest, info: ArtifactInfo) -> dict[str, tuple[str | None, str | None]]:
    then = {**manifest.tools, "manifest": str(manifest.document["schema_version"])}
    now = {**info.tools, "manifest": str(SCHEMA_VERSION)}
    return {name: (then.get(name), now.get(name)) for name in {**then, **now} if then.get(name) != now.get(name)}
