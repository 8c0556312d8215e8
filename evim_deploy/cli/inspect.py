"""``evim-deploy inspect``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.problems import end_with
from evim_deploy.cli.quantisation import quantisation_lines
from evim_deploy.common.errors import EvimError

if TYPE_CHECKING:
    from rich.console import Console

    from evim_deploy.formats import Axis, Value
    from evim_deploy.inspection import FunctionInspection, Inspection, Suitability
    from evim_deploy.inspection.rules import Finding
    from runtimes.delegation import Delegation

LAYERS_SHOWN = 10
NAME_WIDTH = 44
METADATA_WIDTH = 60


def inspect(
    artifacts: Annotated[
        list[Path],
        typer.Argument(metavar="ARTIFACT...", help="An .onnx, .tflite, .mlpackage or .mlmodel file of any origin."),
    ],
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the contents of a model file, and the operations that a phone's accelerators do not support."""
    with reporting(SETTINGS):
        results = [(artifact, _inspect(artifact)) for artifact in artifacts]
    if json:
        documents = [
            {"path": str(path), "error": result.to_dict()} if isinstance(result, EvimError) else _document(result)
            for path, result in results
        ]
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": documents})
    else:
        _show_all([result for _, result in results if not isinstance(result, EvimError)])
    end_with([result for _, result in results if isinstance(result, EvimError)])


def _inspect(artifact: Path) -> Inspection | EvimError:
    """Inspect one of several files; an error is returned, so that the other files are shown."""
    from evim_deploy.inspection import inspect

    try:
        return inspect(artifact)
    except EvimError as error:
        return error


def _show_all(inspections: Sequence[Inspection]) -> None:
    console = out()
    for number, inspection in enumerate(inspections):
        if number:
            console.print()
        _show(console, inspection)


def _document(inspection: Inspection) -> dict[str, object]:
    contents = inspection.contents
    return {
        "path": str(inspection.path),
        "format": contents.format,
        "kind": contents.kind,
        "bytes": inspection.bytes,
        "made_by_evim_deploy": inspection.manifest is not None,
        "producer": contents.producer,
        "description": contents.description,
        "metadata": dict(contents.metadata),
        "inputs": [_value(value) for value in contents.inputs],
        "outputs": [_value(value) for value in contents.outputs],
        "functions": [_function(function) for function in inspection.functions],
        "xnnpack": _delegation_document(_xnnpack_delegation(inspection.path)),
    }


def _value(value: Value) -> dict[str, object]:
    return {"name": value.name, "dtype": value.dtype, "shape": value.shape}


def _function(function: FunctionInspection) -> dict[str, object]:
    return {
        "name": function.name,
        "inputs": [_value(value) for value in function.inputs],
        "outputs": [_value(value) for value in function.outputs],
        "operations": function.classes,
        "weight_bytes": function.weight_bytes,
        "weight_types": function.weight_types,
        "layers": [asdict(layer) for layer in function.layers],
        "movements": [movement.to_dict() for movement in function.movements],
        "conversions": [conversion.to_dict() for conversion in function.conversions],
        "targets": [asdict(target) for target in function.targets],
    }


def _xnnpack_delegation(path: Path) -> Delegation | EvimError | None:
    """The operations that XNNPACK runs, or the error on this host; None for formats other than TFLite."""
    from runtimes import read_delegation

    try:
        return read_delegation(path)
    except EvimError as error:
        return error


def _delegation_document(delegation: Delegation | EvimError | None) -> dict[str, object] | None:
    if isinstance(delegation, EvimError):
        return {"not_run_on_this_host": delegation.cause}
    return None if delegation is None else asdict(delegation)


def _show(console: Console, inspection: Inspection) -> None:
    contents = inspection.contents

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, soft_wrap=True, markup=False)

    line(f"{inspection.path}", "bold")
    line(f"  {contents.kind}, {_size(inspection.bytes)}{', by ' if contents.producer else ''}{contents.producer}")
    if contents.description:
        line(f"  {contents.description}")
    if inspection.manifest is None:
        line("  without a manifest of evim-deploy")
    elif (weights := inspection.manifest.get("weights")) and isinstance(weights, dict):
        line(f"  weights {'trained' if weights.get('trained') else 'UNTRAINED'}, from {weights.get('source')}")
    for text in _quantisation(inspection):
        line(f"  {text}")
    for key, text in inspection.other_metadata.items():
        line(f"  {key}: {_short(text, METADATA_WIDTH)}", "dim")
    for word, values in (("input", contents.inputs), ("output", contents.outputs)):
        for value in values:
            line(f"  {word} {value.name}: {value.dtype} {_shape(value.shape)}".rstrip())
    for function in inspection.functions:
        if len(inspection.functions) > 1:
            console.print()
            line(f"function {function.name}", "bold")
        _show_function(console, inspection, function)
    _show_delegation(console, _xnnpack_delegation(inspection.path))


def _quantisation(inspection: Inspection) -> list[str]:
    """The quantisation in the file's manifest; empty if the manifest cannot be read."""
    from evim_deploy.artifact.quantisation import Quantisation

    manifest = inspection.manifest or {}
    try:
        quantisation = Quantisation.parse(manifest["quantisation"])
        return list(quantisation_lines(manifest["format"], manifest["precision"], quantisation))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _show_function(console: Console, inspection: Inspection, function: FunctionInspection) -> None:
    from rich.table import Table

    total = sum(sum(types.values()) for types in function.classes.values())
    operations = Table(box=None, pad_edge=False, title=f"{total} operations", title_justify="left", title_style="bold")
    for column in ("class", "number", "types"):
        operations.add_column(column, no_wrap=column != "types", justify="right" if column == "number" else "left")
    for class_, types in function.classes.items():
        named = ", ".join(f"{type_} {count}" for type_, count in types.items())
        operations.add_row(class_, str(sum(types.values())), named)
    console.print()
    console.print(operations)
    _show_movements(console, function)
    _show_conversions(console, function)
    _show_layers(console, inspection, function)
    for target in function.targets:
        _show_target(console, target)


def _show_movements(console: Console, function: FunctionInspection) -> None:
    """Print a line for each type that only moves data: its number, whether it copies, and the first operation."""
    from rich.table import Table

    if not function.movements:
        return
    kinds = defaultdict(list)
    for movement in function.movements:
        kinds[movement.type, "view" if movement.is_view else "copy"].append(movement)
    moved = Table(box=None, pad_edge=False, title="only moves data", title_justify="left", title_style="bold")
    for column in ("type", "number", "data", "first", "from", "to"):
        moved.add_column(column, no_wrap=True, justify="right" if column == "number" else "left")
    for (type_, kind), movements in kinds.items():
        first = movements[0]
        shapes = (", ".join(_shape(shape) for shape in side) for side in (first.inputs, first.outputs))
        moved.add_row(type_, str(len(movements)), kind, _short(first.operation, NAME_WIDTH), *shapes)
    console.print()
    console.print(moved)


def _show_conversions(console: Console, function: FunctionInspection) -> None:
    """Print each conversion between integers and floats."""
    if function.conversions:
        console.print()
        console.print("between integers and floats", style="bold")
    for each in function.conversions:
        console.print(f"  {each.type} {each.input}, {each.source} to {each.target}", soft_wrap=True, markup=False)
        console.print(f"    {each.reason}", style="dim", soft_wrap=True, markup=False)


def _show_layers(console: Console, inspection: Inspection, function: FunctionInspection) -> None:
    from rich.table import Table

    if not function.layers:
        return
    title = f"weights: {_size(function.weight_bytes)} in {len(function.layers)} operations"
    largest = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in ("largest", "type", "shapes", "size", "of file"):
        largest.add_column(column, no_wrap=True, justify="right" if column in ("size", "of file") else "left")
    for layer in function.layers[:LAYERS_SHOWN]:
        shapes = ", ".join(_shape(shape) for shape in layer.shapes)
        share = f"{layer.bytes / inspection.bytes:.1%}"
        largest.add_row(_short(layer.operation, NAME_WIDTH), layer.type, shapes, _size(layer.bytes), share)
    types = ", ".join(f"{dtype} {_size(size)}" for dtype, size in function.weight_types.items())
    console.print()
    console.print(largest)
    console.print(f"stored as {types}", soft_wrap=True, markup=False)


def _show_target(console: Console, target: Suitability) -> None:
    from evim_deploy.inspection.rules import Severity

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, soft_wrap=True, markup=False)

    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in target.findings:
        groups[finding.severity, finding.rule].append(finding)
    console.print()
    line(f"{target.title}: {target.verdict}", "bold")
    for (severity, _), findings in groups.items():
        first = findings[0]
        types = _short(", ".join(dict.fromkeys(finding.type for finding in findings)), NAME_WIDTH)
        example = f"{_short(first.operation, NAME_WIDTH)} ({first.detail})"
        line(
            f"  {severity} {len(findings)}: {types}; e.g. {example}",
            "yellow" if severity in (Severity.BLOCKS, Severity.DIFFERS) else None,
        )
        line(f"    {first.reason}")
        line(f"    {first.source}", "dim")


def _show_delegation(console: Console, delegation: Delegation | EvimError | None) -> None:
    """Print XNNPACK's own partition of the file, below the result of its rules."""

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, soft_wrap=True, markup=False)

    if isinstance(delegation, EvimError):
        line(f"  measured: not run on this host. {delegation.cause}")
    elif delegation is not None:
        inside, parts = delegation.operations - len(delegation.outside), delegation.partitions
        line(
            f"  measured: runs {inside} of {delegation.operations} operations, in {parts} partition{'s' * (parts != 1)}"
        )
        for type_, count in Counter(delegation.outside).most_common():
            line(f"  does not run {count}: {type_}", "yellow")


def _shape(shape: tuple[Axis, ...] | None) -> str:
    return "?" if shape is None else "x".join(map(str, shape))


def _short(text: str, width: int) -> str:
    """A text in one line of at most ``width`` characters; the first of names that TensorFlow joins with ``;``."""
    text = text.partition(";")[0].replace("\n", " ")
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
