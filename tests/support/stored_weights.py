"""Find weights in the files of an artifact by their values, and change one without a library."""

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
class StoredLocation:
    """The location of an array in an artifact: the file (relative to a package), the first byte, dtype and length."""

    member: str
    offset: int
    dtype: str
    size: int


def places(artifact: Path, graph: Graph, precision: str) -> dict[tuple[str, str], StoredLocation]:
    """The location of each array of a graph that occurs exactly once, by operation and weight."""
    weights = {(node.name, name): array for node in graph.nodes for name, array in node.weights.items()}
    return places_of(artifact, weights, precision)


def places_of(artifact: Path, weights: Mapping[Key, Array], precision: str) -> dict[Key, StoredLocation]:
    """The locations of the arrays that occur exactly once."""
    members = [artifact] if artifact.is_file() else sorted(path for path in artifact.rglob("*") if path.is_file())
    contents = {"" if path == artifact else str(path.relative_to(artifact)): path.read_bytes() for path in members}
    locations = {}
    for key, array in weights.items():
        hits = list(_occurrences(array, DTYPES[precision], contents))
        if len(hits) == 1:
            locations[key] = hits[0]
    return locations


def change_one(artifact: Path, location: StoredLocation) -> None:
    """Increase an array's middle element by its absolute value and three standard deviations of the array."""
    with opened(artifact, location) as stored:
        index = location.size // 2
        stored[index] += abs(stored[index]) + 3 * stored.std()


def double_the_least(artifact: Path, location: StoredLocation) -> None:
    """Double an array's smallest element, which hardly changes the outputs."""
    with opened(artifact, location) as stored:
        stored[np.abs(stored).argmin()] *= 2


@contextmanager
def opened(artifact: Path, location: StoredLocation) -> Iterator[npt.NDArray[np.floating]]:
    """A writable view of an array in its file."""
    path = artifact / location.member if location.member else artifact
    content = bytearray(path.read_bytes())
    yield np.frombuffer(content, location.dtype, location.size, location.offset)
    path.write_bytes(content)


def _occurrences(array: Array, dtype: str, contents: dict[str, bytes]) -> set[StoredLocation]:
    """The occurrences of an array with its axes in any order."""
    hits = set()
    for axes in itertools.permutations(range(array.ndim)):
        pattern = np.ascontiguousarray(array.transpose(axes)).astype(dtype).tobytes()
        for member, content in contents.items():
            start = content.find(pattern)
            while start >= 0:
                hits.add(StoredLocation(member, start, dtype, array.size))
                start = content.find(pattern, start + 1)
    return hits
