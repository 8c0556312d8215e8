"""Inspect a model file: its operations and weights, and the obstacles to running it on a phone's accelerators.

Nothing is executed: each finding comes from a backend's rules, with its reason and its source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evim_deploy import formats
from evim_deploy.artifact.metadata import LABELS_KEY, METADATA_KEY
from evim_deploy.common.json_documents import parse_json
from evim_deploy.formats import FileFunction, FileOperation, ModelFile, Value
from evim_deploy.inspection.classes import OpClass, class_of
from evim_deploy.inspection.conversions import Conversion, conversions
from evim_deploy.inspection.core_ml import CORE_ML
from evim_deploy.inspection.layers import LayerWeights, at_run_time, layers, weight_types
from evim_deploy.inspection.movement import DataMovement, movements
from evim_deploy.inspection.neural_engine import NEURAL_ENGINE
from evim_deploy.inspection.onnxruntime_coreml import ONNXRUNTIME_COREML
from evim_deploy.inspection.rules import INPUT, Backend, Finding, Severity, check
from evim_deploy.inspection.tflite_gpu import TFLITE_GPU
from evim_deploy.inspection.xnnpack import XNNPACK

BACKENDS: Mapping[str, tuple[Backend, ...]] = {
    "coreml": (NEURAL_ENGINE, CORE_ML),
    "onnx": (ONNXRUNTIME_COREML,),
    "tflite": (TFLITE_GPU, XNNPACK),
}
"""The backends of each format, besides a CPU that runs all operations."""


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """The suitability of a function for a backend.

    Attributes:
        target: The backend's name in reports.
        title: The backend's name for people.
        operations: Number of the function's operations that run at inference, rather than once at loading.
        kept_off: Number of these that the backend does not run.
        findings: All findings, in the order of the backend's rules.
        verdict: The result in a sentence.
    """

    target: str
    title: str
    operations: int
    kept_off: int
    findings: tuple[Finding, ...]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class FunctionInspection:
    """One function of a file.

    Attributes:
        name: Its name.
        inputs: Its inputs, which may have other types than the file's interface.
        outputs: Its outputs, which may have other types than the file's interface.
        classes: Number of operations by class, then by type.
        movements: Operations that only move data.
        conversions: Conversions between integers and floats.
        layers: Operations with weights, the largest first.
        weight_types: Bytes of weights by their type in the file, the largest first.
        targets: Its suitability for each backend.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    classes: Mapping[OpClass, Mapping[str, int]]
    movements: tuple[DataMovement, ...]
    conversions: tuple[Conversion, ...]
    layers: tuple[LayerWeights, ...]
    weight_types: Mapping[str, int]
    targets: tuple[Suitability, ...]

    @property
    def weight_bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result of inspecting a file.

    Attributes:
        path: The file.
        bytes: Its size, or that of all files of a package.
        contents: Its content.
        manifest: Our manifest from its metadata; None if evim-deploy did not make it.
        functions: The default function first.
    """

    path: Path
    bytes: int
    contents: ModelFile
    manifest: Mapping[str, Any] | None
    functions: tuple[FunctionInspection, ...]

    @property
    def other_metadata(self) -> dict[str, str]:
        """The file's metadata without evim-deploy's."""
        return {key: text for key, text in self.contents.metadata.items() if key not in (METADATA_KEY, LABELS_KEY)}


def inspect(path: Path) -> Inspection:
    """Read any ONNX, Core ML or TFLite file and check every operation against the rules of its backends.

    Raises:
        BadInput: The file is missing, of an unknown kind, damaged or incomplete.
        NotInstalled: The package that reads its format is missing.
    """
    contents = formats.read(path, infer_shapes=True)
    functions = tuple(_inspect_function(contents.format, function) for function in contents.functions)
    return Inspection(
        path=path,
        bytes=_size(path),
        contents=contents,
        manifest=_manifest(contents.metadata),
        functions=functions,
    )


def _inspect_function(format_: str, function: FileFunction) -> FunctionInspection:
    running = at_run_time(function)
    counts = Counter(operation.type for operation in function.operations)
    classes = {
        class_: {type_: count for type_, count in counts.most_common() if class_of(format_, type_) == class_}
        for class_ in OpClass
    }
    return FunctionInspection(
        name=function.name,
        inputs=function.inputs,
        outputs=function.outputs,
        classes={class_: types for class_, types in classes.items() if types},
        movements=movements(format_, running),
        conversions=conversions(running) if format_ == "tflite" else (),
        layers=layers(function),
        weight_types=weight_types(function),
        targets=tuple(_suitability(backend, running, function) for backend in BACKENDS[format_]),
    )


def _suitability(backend: Backend, running: tuple[FileOperation, ...], function: FileFunction) -> Suitability:
    findings = check(backend, running, function)
    kept_off = _kept_off(findings, running)
    return Suitability(
        target=backend.id,
        title=backend.title,
        operations=len(running),
        kept_off=kept_off,
        findings=findings,
        verdict=_verdict(backend, findings, kept_off, len(running)),
    )


def _kept_off(findings: tuple[Finding, ...], operations: tuple[FileOperation, ...]) -> int:
    """Number of operations that a backend does not run; all of them if an input is the obstacle."""
    blocked = [finding for finding in findings if finding.severity == Severity.BLOCKS]
    if any(finding.type == INPUT for finding in blocked):
        return len(operations)
    names = {finding.operation for finding in blocked}
    return sum(operation.name in names for operation in operations)


def _verdict(backend: Backend, findings: tuple[Finding, ...], kept_off: int, operations: int) -> str:
    differing = {finding.operation for finding in findings if finding.severity == Severity.DIFFERS}
    if kept_off:
        return f"{kept_off} of {operations} operations stay off it"
    if differing:
        return f"reported to differ from the specification in {len(differing)} of {operations} operations"
    return backend.clear


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def _manifest(metadata: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Our manifest; None if it is missing or unreadable, since the file need not be ours."""
    try:
        manifest = parse_json(metadata.get(METADATA_KEY, "null"))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) else None
