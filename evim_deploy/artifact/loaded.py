"""An artifact's file, read, parsed and hashed once, with the manifest in it and the hash that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evim_deploy import formats
from evim_deploy.artifact.changes import changes
from evim_deploy.artifact.reading import Manifest, check_beside, embedded_manifest
from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import sha256


@dataclass(frozen=True, kw_only=True)
class LoadedArtifact:
    """An artifact of evim-deploy as it is on disk.

    Attributes:
        path: The file or package.
        contents: The parsed file.
        manifest: The manifest in the file's metadata.
        sha256: The hash of the file, or of all files of a package (hex).
        expected_sha256: The hash in the manifest beside the artifact; None without such a manifest.
    """

    path: Path
    contents: formats.ModelFile
    manifest: Manifest
    sha256: str
    expected_sha256: str | None

    def content_changes(self) -> list[str]:
        """The parts of the file that differ from what its manifest says was exported."""
        return list(changes(self.manifest, self.contents))

    def byte_changes(self) -> list[str]:
        """The hash, if it is not the one in the manifest beside the artifact."""
        if self.expected_sha256 is None or self.expected_sha256 == self.sha256:
            return []
        return [f"other bytes than were exported: their sha256 is not {self.expected_sha256[:12]}"]


def load_artifact(path: Path) -> LoadedArtifact:
    """Read, parse and hash an artifact, and read the manifest in it and the one beside it.

    Raises:
        BadInput: The file or a manifest is missing, damaged or of another version, or they contradict each other.
        NotInstalled: The package that reads the format is missing.
    """
    contents = formats.read(path)
    manifest = embedded_manifest(contents.metadata, path)
    if manifest.target.format != contents.format:
        raise BadInput(
            f"{path} is a {contents.format} file, but its manifest says {manifest.target.format}.", "Export it again."
        )
    expected = check_beside(manifest, path)
    return LoadedArtifact(
        path=path, contents=contents, manifest=manifest, sha256=sha256(path), expected_sha256=expected
    )
