"""The operations of a file that an engine hands to a delegate, read from its execution plan after loading.

LiteRT keeps the operations of the file in its list and appends one of type DELEGATE for each partition that a delegate
runs. The operations inside a partition are those that its outputs depend on, back to its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_PARTITION = "DELEGATE"


@dataclass(frozen=True)
class PlannedOperation:
    """An operation of an execution plan: its type, and its tensors by index."""

    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Delegation:
    """The share of a file that a delegate runs.

    Attributes:
        operations: Number of operations in the file.
        partitions: Number of parts that the delegate runs; values are handed over between two parts.
        outside: Types of the operations that the delegate does not run, in the file's order. They include operations
            with unused values.
    """

    operations: int
    partitions: int
    outside: tuple[str, ...]


def delegation(plan: Sequence[PlannedOperation]) -> Delegation:
    """Return the share of a file that a delegate runs, from the execution plan of an engine."""
    operations = [op for op in plan if op.type != _PARTITION]
    partitions = [op for op in plan if op.type == _PARTITION]
    producers = {tensor: index for index, op in enumerate(operations) for tensor in op.outputs}
    inside = {index for partition in partitions for index in _inside(partition, operations, producers)}
    outside = tuple(op.type for index, op in enumerate(operations) if index not in inside)
    return Delegation(len(operations), len(partitions), outside)


def _inside(
    partition: PlannedOperation, operations: Sequence[PlannedOperation], producers: Mapping[int, int]
) -> Iterator[int]:
    """Yield the indices of the operations in a partition."""
    seen = set(partition.inputs)
    pending = list(partition.outputs)
    while pending:
        tensor = pending.pop()
        if tensor in producers and tensor not in seen:
            index = producers[tensor]
            seen.update(operations[index].outputs)
            pending += operations[index].inputs
            yield index
