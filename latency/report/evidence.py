"""Evidence on artifacts besides latency: their manifests, and the output of ``evaluate --json``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json
from latency.report.entries import ReportEntry

_FORMATS = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite", "coreml": "coreml"}
"""The format of the files that an engine loads; the other engines load none."""

_FILE_PRECISIONS = {"bf16": "fp32"}
"""The precision of the file by the precision that an engine computes in, if they differ."""


class _Part(BaseModel):
    """A part of a document; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ParityMeasures(_Part):
    max_abs: float | None


class ParityComparison(_Part):
    measures: ParityMeasures


class ArtifactParity(_Part):
    status: Literal["pass", "warning", "fail", "not_run"]
    reason: str
    comparisons: tuple[ParityComparison, ...]


class ArtifactWeights(_Part):
    source: str
    trained: bool


class ArtifactManifest(_Part):
    """The manifest that `evim-deploy export` writes beside an artifact."""

    artifact: str
    size_bytes: int
    sha256: str
    format: str
    precision: str
    model: str
    resolution: tuple[int, int] | Literal["dynamic"]
    weights: ArtifactWeights
    parity: ArtifactParity


class ArtifactAccuracy(_Part):
    """The accuracy of an artifact, percent; None without predictions, or without a reference."""

    artifact: str
    count: int
    top1: float | None
    top5: float | None
    agreement: float | None
    difference: float | None = None
    """Difference of top-1 from the source network, points."""
    sha256: str | None = None
    weights: ArtifactWeights | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return Path(self.artifact).name


class _Accuracies(_Part):
    results: tuple[ArtifactAccuracy, ...]


_Document = TypeVar("_Document", bound=_Part)


@dataclass(frozen=True)
class Evidence:
    """The manifests and accuracies of artifacts."""

    manifests: tuple[ArtifactManifest, ...] = ()
    accuracies: tuple[ArtifactAccuracy, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.manifests or self.accuracies)

    def rows(self, entries: Iterable[ReportEntry]) -> list[ArtifactRow]:
        """A row for each case whose engine loads a file, then for each artifact that was not timed."""
        rows = [self._row(entry) for entry in entries if entry.case.engine in _FORMATS]
        timed = [row.manifest for row in rows if row.manifest]
        others = [manifest for manifest in self.manifests if manifest not in timed]
        rows += [ArtifactRow(None, manifest, self._accuracy(manifest.artifact)) for manifest in others]
        used = [row.accuracy for row in rows]
        return [*rows, *(ArtifactRow(None, None, accuracy) for accuracy in self.accuracies if accuracy not in used)]

    def _row(self, entry: ReportEntry) -> ArtifactRow:
        manifest = next((each for each in self.manifests if _matches(each, entry)), None)
        name = manifest.artifact if manifest else Path(entry.case.subject.source).name
        return ArtifactRow(entry, manifest, self._accuracy(name))

    def _accuracy(self, name: str) -> ArtifactAccuracy | None:
        return next((accuracy for accuracy in self.accuracies if accuracy.name == name), None)


NO_EVIDENCE = Evidence()


@dataclass(frozen=True)
class ArtifactRow:
    """An artifact, or a file made in the same way, in one engine.

    Attributes:
        entry: Its latency; None if it was not timed.
        manifest: Its manifest, if known.
        accuracy: Its accuracy, if known.
    """

    entry: ReportEntry | None
    manifest: ArtifactManifest | None
    accuracy: ArtifactAccuracy | None

    @property
    def format(self) -> str:
        """The format of the file; empty if unknown."""
        if self.manifest:
            return self.manifest.format
        return _FORMATS[self.entry.case.engine] if self.entry else ""

    @property
    def computed(self) -> str:
        """The precision that the engine computes in, if the file's differs; otherwise empty."""
        precision = self.entry.case.precision if self.entry else ""
        return precision if precision in _FILE_PRECISIONS else ""


def _matches(manifest: ArtifactManifest, entry: ReportEntry) -> bool:
    """Whether a case is the artifact of a manifest, or has the same model, format, precision and size."""
    c = entry.case
    if c.subject.kind == "artifact":
        return Path(c.subject.source).name == manifest.artifact
    model = f"timm:{c.subject.source}" if c.subject.kind == "peer" else c.subject.name.lower().replace("-", "_")
    return (manifest.model, manifest.format, manifest.precision) == (
        model,
        _FORMATS[c.engine],
        _FILE_PRECISIONS.get(c.precision, c.precision),
    ) and manifest.resolution in ((c.height, c.width), "dynamic")


def read_evidence(folders: Sequence[Path], accuracies: Sequence[Path]) -> Evidence:
    """Read the manifests in folders, and the output of ``evaluate --json``.

    Args:
        folders: Folders of artifacts.
        accuracies: Paths of the output of ``evaluate --json``.

    Raises:
        BadInput: A file cannot be read or has other contents, or a folder has no manifest.
    """
    return Evidence(
        tuple(manifest for folder in folders for manifest in _manifests(folder)),
        tuple(
            each for path in accuracies for each in _read(path, _Accuracies, "`evim-deploy evaluate --json`").results
        ),
    )


_MANIFESTS = ("*.onnx.json", "*.tflite.json", "*.mlpackage.json")


def _manifests(folder: Path) -> list[ArtifactManifest]:
    paths = sorted(path for pattern in _MANIFESTS for path in folder.glob(pattern))
    if not paths:
        raise BadInput(f"{folder} has no artifacts.", "Name a folder that `evim-deploy export -o` wrote into.")
    return [_read(path, ArtifactManifest, "`evim-deploy export`") for path in paths]


def _read(path: Path, kind: type[_Document], writer: str) -> _Document:
    remedy = f"Name a file that {writer} wrote."
    try:
        return kind.model_validate(parse_json(path.read_bytes()))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(step) for step in first["loc"]) or "its beginning"
        raise BadInput(f"{path} has unexpected contents at {field}: {first['msg']}.", remedy) from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON, or only a part of it: {error}.", remedy) from None
