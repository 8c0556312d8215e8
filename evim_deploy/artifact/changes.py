"""Differences between an artifact's file and the manifest that was written with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from evim_deploy.artifact.manifest import TensorEntry
from evim_deploy.artifact.reading import Manifest
from evim_deploy.formats import ModelFile, Value

_Shape = tuple[int | str, ...] | None
"""None for a dictionary, which has no shape."""


def changes(manifest: Manifest, contents: ModelFile) -> Iterator[str]:
    """Each difference in words: operations, functions, inputs and outputs that are not those that were exported."""
    exported = Counter(manifest.schema.structure.operations)
    if exported != contents.operations:
        others = (exported - contents.operations) + (contents.operations - exported)
        yield f"other operations than were exported ({', '.join(sorted(others))})"
    if _changed_functions(manifest, contents):
        yield "other functions than were exported"
    for ports in changed_ports(manifest, contents):
        yield f"other {ports} than were exported"


def changed_ports(manifest: Manifest, contents: ModelFile) -> list[str]:
    """Those of ``inputs`` and ``outputs`` whose names, element types or shapes are not those that were exported."""
    schema = manifest.schema
    pairs = {"inputs": (schema.inputs, contents.inputs), "outputs": (schema.outputs, contents.outputs)}
    return [ports for ports, (exported, actual) in pairs.items() if _typed(exported) != _typed(actual)]


def _changed_functions(manifest: Manifest, contents: ModelFile) -> bool:
    """Whether names, order of the default function, or inputs differ; an input's type in a program is its own."""
    exported = {f.name: frozenset((port.name, _shape(port)) for port in f.inputs) for f in manifest.schema.functions}
    actual = {f.name: frozenset((value.name, value.shape) for value in f.inputs) for f in contents.functions}
    if not exported and len(actual) < 2:
        return False
    return exported != actual or next(iter(exported)) != next(iter(actual))


def _typed(ports: Iterable[TensorEntry | Value]) -> frozenset[tuple[str, str, _Shape]]:
    return frozenset((each.name, each.dtype, _shape(each)) for each in ports)


def _shape(port: TensorEntry | Value) -> _Shape:
    return None if port.dtype == "dictionary" else tuple(port.shape or ())
