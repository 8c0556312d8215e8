"""What is known of artifacts besides their speed: the manifests beside them, and what ``evaluate --json`` found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from evim_deploy.common.errors import BadInput
from evim_deploy.common.json_documents import parse_json
from latency.report.entries import Entry

_FORMATS = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite", "coreml": "coreml"}
"""The format of the file that an engine loads; the others load none."""

_COMPUTED = {"bf16": "fp32"}
"""Precisions that an engine computes in, and that of the file it does so from."""


class _Part(BaseModel):
    """A part of a document, of which only what is told here is read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Measures(_Part):
    max_abs: float | None


class Comparison(_Part):
    measures: Measures


class Parity(_Part):
    status: Literal["pass", "warning", "fail", "not_run"]
    reason: str
    comparisons: tuple[Comparison, ...]


class Weights(_Part):
    source: str
    trained: bool


class Manifest(_Part):
    """Of an artifact, as `evim-deploy export` wrote it beside it."""

    artifact: str
    size_bytes: int
    sha256: str
    format: str
    precision: str
    model: str
    resolution: tuple[int, int] | Literal["dynamic"]
    weights: Weights
    parity: Parity


class Accuracy(_Part):
    """Of an artifact, in percent; None where nothing was answered, or there was nothing to compare with."""

    artifact: str
    count: int
    top1: float | None
    top5: float | None
    agreement: float | None
    difference: float | None = None
    """Of top-1 with that of the network it was made from, points."""
    sha256: str | None = None
    weights: Weights | None = None

    @property
    def name(self) -> str:
        """Of the file."""
        return Path(self.artifact).name


class _Accuracies(_Part):
    results: tuple[Accuracy, ...]


_Document = TypeVar("_Document", bound=_Part)


@dataclass(frozen=True)
class Evidence:
    """Everything that is known of artifacts."""

    manifests: tuple[Manifest, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.manifests or self.accuracies)

    def lines(self, entries: Iterable[Entry]) -> list[Line]:
        """What is known of each contender that is a file, and then of each artifact that was not timed."""
        found = [self._line(entry) for entry in entries if entry.contender.engine in _FORMATS]
        timed = [line.manifest for line in found if line.manifest]
        rest = [manifest for manifest in self.manifests if manifest not in timed]
        found += [Line(None, manifest, self._accuracy(manifest.artifact)) for manifest in rest]
        told = [line.accuracy for line in found]
        return [*found, *(Line(None, None, accuracy) for accuracy in self.accuracies if accuracy not in told)]

    def _line(self, entry: Entry) -> Line:
        manifest = next((each for each in self.manifests if _is_of(each, entry)), None)
        name = manifest.artifact if manifest else Path(entry.contender.subject.source).name
        return Line(entry, manifest, self._accuracy(name))

    def _accuracy(self, name: str) -> Accuracy | None:
        return next((accuracy for accuracy in self.accuracies if accuracy.name == name), None)


NONE = Evidence()
"""Nothing is known."""


@dataclass(frozen=True)
class Line:
    """One artifact, or a file like it, in one engine.

    Attributes:
        entry: Its latency; None where it was not timed.
        manifest: None where none was given.
        accuracy: Likewise.
    """

    entry: Entry | None
    manifest: Manifest | None
    accuracy: Accuracy | None

    @property
    def format(self) -> str:
        """Of the file; empty where nothing tells it."""
        if self.manifest:
            return self.manifest.format
        return _FORMATS[self.entry.contender.engine] if self.entry else ""

    @property
    def computed(self) -> str:
        """The precision that the engine itself computes in, where the file is of another; else empty."""
        precision = self.entry.contender.precision if self.entry else ""
        return precision if precision in _COMPUTED else ""


def _is_of(manifest: Manifest, entry: Entry) -> bool:
    """Whether a contender is an artifact, or made as it was: of one model, format, precision and size."""
    c = entry.contender
    if c.subject.kind == "artifact":
        return Path(c.subject.source).name == manifest.artifact
    model = f"timm:{c.subject.source}" if c.subject.kind == "peer" else c.subject.name.lower().replace("-", "_")
    return (manifest.model, manifest.format, manifest.precision) == (
        model,
        _FORMATS[c.engine],
        _COMPUTED.get(c.precision, c.precision),
    ) and manifest.resolution in ((c.height, c.width), "dynamic")


def read_evidence(folders: Sequence[Path], accuracies: Sequence[Path]) -> Evidence:
    """The manifests in folders, and the documents of ``evaluate --json``.

    Raises:
        BadInput: One cannot be read or is none, or a folder has none.
    """
    return Evidence(
        tuple(manifest for folder in folders for manifest in _manifests(folder)),
        tuple(
            each for path in accuracies for each in _read(path, _Accuracies, "`evim-deploy evaluate --json`").results
        ),
    )


_MANIFESTS = ("*.onnx.json", "*.tflite.json", "*.mlpackage.json")


def _manifests(folder: Path) -> list[Manifest]:
    paths = sorted(path for pattern in _MANIFESTS for path in folder.glob(pattern))
    if not paths:
        raise BadInput(f"{folder} has no artifacts.", "Name a folder that `evim-deploy export -o` wrote into.")
    return [_read(path, Manifest, "`evim-deploy export`") for path in paths]


def _read(path: Path, kind: type[_Document], writer: str) -> _Document:
    remedy = f"Name what {writer} wrote."
    try:
        document: Any = parse_json(path.read_bytes())
        return kind.model_validate(document)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "its beginning"
        raise BadInput(f"{path} is not what was expected at {place}: {first['msg']}.", remedy) from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON, or only a part of it: {error}.", remedy) from None
