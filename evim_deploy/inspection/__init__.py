"""What a model file holds, and what would keep it off a phone's accelerators.

``inspect(path)`` reads any ONNX, Core ML or TFLite file, also one that is not ours. Nothing is run:
what it says of a target is what that target's rules say, each with its reason and its source.
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
from evim_deploy.formats import Contents, Function, Operation, Value
from evim_deploy.inspection.classes import CLASSES, class_of
from evim_deploy.inspection.conversions import Conversion, conversions
from evim_deploy.inspection.core_ml import CORE_ML
from evim_deploy.inspection.layers import Layer, at_run_time, layers, weight_types
from evim_deploy.inspection.movement import Movement, movements
from evim_deploy.inspection.neural_engine import NEURAL_ENGINE
from evim_deploy.inspection.onnxruntime_coreml import ONNXRUNTIME_COREML
from evim_deploy.inspection.rules import BLOCKS, DIFFERS, INPUT, Finding, Target, check
from evim_deploy.inspection.tflite_gpu import TFLITE_GPU
from evim_deploy.inspection.xnnpack import XNNPACK

TARGETS: Mapping[str, tuple[Target, ...]] = {
    "coreml": (NEURAL_ENGINE, CORE_ML),
    "onnx": (ONNXRUNTIME_COREML,),
    "tflite": (TFLITE_GPU, XNNPACK),
}
"""What may run a file of each format, besides a CPU that runs it all."""


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """What a target makes of a function.

    Attributes:
        target: Its name in reports.
        title: Its name for people.
        operations: How many of the function's operations run at all, rather than once as it loads.
        kept_off: How many of those the target does not take.
        findings: Everything that is in the way, in the order of the target's rules.
        verdict: The outcome in a sentence.
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
        inputs: Its own, which may have other types than the file's interface.
        outputs: Likewise.
        classes: Operations by what they do, then by their type.
        movements: What only moves data.
        conversions: Where values go from integers to floats or back.
        layers: Operations with weights, the largest first.
        weight_types: Bytes of weights by their type in the file, the most first.
        targets: What would keep it off each target.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    classes: Mapping[str, Mapping[str, int]]
    movements: tuple[Movement, ...]
    conversions: tuple[Conversion, ...]
    layers: tuple[Layer, ...]
    weight_types: Mapping[str, int]
    targets: tuple[Suitability, ...]

    @property
    def weight_bytes(self) -> int:
        return sum(layer.bytes for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file holds.

    Attributes:
        path: Where it is.
        bytes: Its size, or that of all files of a package.
        contents: What stands in it.
        manifest: Ours, out of its metadata; None if evim-deploy did not make it.
        functions: The default one first.
    """

    path: Path
    bytes: int
    contents: Contents
    manifest: Mapping[str, Any] | None
    functions: tuple[FunctionInspection, ...]

    @property
    def other_metadata(self) -> dict[str, str]:
        """The file's metadata but for what evim-deploy keeps there."""
        return {key: text for key, text in self.contents.metadata.items() if key not in (METADATA_KEY, LABELS_KEY)}


def inspect(path: Path) -> Inspection:
    """Read a file and hold every operation against the rules of what may run it.

    Raises:
        BadInput: There is no such file, it is of no kind that is known here, or it is damaged or incomplete.
        NotInstalled: The package that knows its format is missing.
    """
    found = formats.read(path, infer_shapes=True)
    functions = tuple(_inspect_function(found.format, function) for function in found.functions)
    return Inspection(
        path=path, bytes=_size(path), contents=found, manifest=_manifest(found.metadata), functions=functions
    )


def _inspect_function(format_: str, function: Function) -> FunctionInspection:
    running = at_run_time(function)
    counts = Counter(operation.type for operation in function.operations)
    classes = {
        class_: {type_: count for type_, count in counts.most_common() if class_of(format_, type_) == class_}
        for class_ in CLASSES
    }
    targets = []
    for target in TARGETS[format_]:
        findings = check(target, running, function)
        kept_off = _kept_off(findings, running)
        verdict = _verdict(target, findings, kept_off, len(running))
        targets.append(
            Suitability(
                target=target.id,
                title=target.title,
                operations=len(running),
                kept_off=kept_off,
                findings=findings,
                verdict=verdict,
            )
        )
    return FunctionInspection(
        name=function.name,
        inputs=function.inputs,
        outputs=function.outputs,
        classes={class_: types for class_, types in classes.items() if types},
        movements=movements(format_, running),
        conversions=conversions(running) if format_ == "tflite" else (),
        layers=layers(function),
        weight_types=weight_types(function),
        targets=tuple(targets),
    )


def _kept_off(findings: tuple[Finding, ...], operations: tuple[Operation, ...]) -> int:
    """How many operations are; all of them where it is an input that keeps them off."""
    blocked = [finding for finding in findings if finding.severity == BLOCKS]
    if any(finding.type == INPUT for finding in blocked):
        return len(operations)
    names = {finding.operation for finding in blocked}
    return sum(operation.name in names for operation in operations)


def _verdict(target: Target, findings: tuple[Finding, ...], kept_off: int, operations: int) -> str:
    differing = {finding.operation for finding in findings if finding.severity == DIFFERS}
    if kept_off:
        return f"{kept_off} of {operations} operations stay off it"
    if differing:
        return f"reported to differ from the specification in {len(differing)} of {operations} operations"
    return target.clear


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


def _manifest(metadata: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Our manifest; one that cannot be read is none, since the file need not be ours."""
    try:
        manifest = parse_json(metadata.get(METADATA_KEY, "null"))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) else None
