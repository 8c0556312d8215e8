"""Weights in the files of an artifact, found by their values: to change one without any library's help."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from evim_deploy.graph.ir import Array, Graph

Key = TypeVar("Key")

DTYPES = {"fp32": "<f4", "fp16": "<f2"}


@dataclass(frozen=True)
class Place:
    """Where an artifact holds an array: in which file (relative to a package), from which byte, and of which type."""

    member: str
    offset: int
    dtype: str
    size: int


def places(artifact: Path, graph: Graph, precision: str) -> dict[tuple[str, str], Place]:
    """Where each array of a graph stands, by operation and weight; those that stand nowhere or twice are left out."""
    weights = {(node.name, name): array for node in graph.nodes for name, array in node.weights.items()}
    return places_of(artifact, weights, precision)


def places_of(artifact: Path, weights: Mapping[Key, Array], precision: str) -> dict[Key, Place]:
    """Where arrays stand; those that stand nowhere or twice are left out."""
    members = [artifact] if artifact.is_file() else sorted(path for path in artifact.rglob("*") if path.is_file())
    contents = {"" if path == artifact else str(path.relative_to(artifact)): path.read_bytes() for path in members}
    found = {}
    for key, array in weights.items():
        hits = list(_occurrences(array, DTYPES[precision], contents))
        if len(hits) == 1:
            found[key] = hits[0]
    return found


def change_one(artifact: Path, place: Place) -> None:
    """Move an array's middle element by its own size and three times the spread of all."""
    with opened(artifact, place) as stored:
        index = place.size // 2
        stored[index] += abs(stored[index]) + 3 * stored.std()


def double_the_least(artifact: Path, place: Place) -> None:
    """Of an array's elements: next to nothing comes out otherwise."""
    with opened(artifact, place) as stored:
        stored[np.abs(stored).argmin()] *= 2


@contextmanager
def opened(artifact: Path, place: Place) -> Iterator[npt.NDArray[np.floating]]:
    """An array in its file, which can be written to."""
    path = artifact / place.member if place.member else artifact
    content = bytearray(path.read_bytes())
    yield np.frombuffer(content, place.dtype, place.size, place.offset)
    path.write_bytes(content)


def _occurrences(array: Array, dtype: str, contents: dict[str, bytes]) -> set[Place]:
    """In any order of its axes."""
    hits = set()
    for axes in itertools.permutations(range(array.ndim)):
        pattern = np.ascontiguousarray(array.transpose(axes)).astype(dtype).tobytes()
        for member, content in contents.items():
            start = content.find(pattern)
            while start >= 0:
                hits.add(Place(member, start, dtype, array.size))
                start = content.find(pattern, start + 1)
    return hits
