"""Which operations of a file an engine hands to a delegate, told from what it plans once the file is loaded.

LiteRT keeps the operations of the file in its list and puts one more, of type DELEGATE, behind them for each partition
that a delegate takes. Those inside a partition are what its outputs need, back to its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_PARTITION = "DELEGATE"


@dataclass(frozen=True)
class Planned:
    """An operation as an engine plans it: its type, and its tensors by their indices."""

    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Delegation:
    """What a delegate takes of a file.

    Attributes:
        operations: How many there are in the file.
        partitions: In how many parts it takes them; between two, values are handed over.
        outside: Types of those that it does not take, in the file's order, and of those whose values nothing needs.
    """

    operations: int
    partitions: int
    outside: tuple[str, ...]


def delegation(planned: Sequence[Planned]) -> Delegation:
    """What a delegate takes, of everything that an engine has planned."""
    operations = [each for each in planned if each.type != _PARTITION]
    partitions = [each for each in planned if each.type == _PARTITION]
    makers = {tensor: index for index, each in enumerate(operations) for tensor in each.outputs}
    inside = {index for partition in partitions for index in _inside(partition, operations, makers)}
    outside = tuple(each.type for index, each in enumerate(operations) if index not in inside)
    return Delegation(len(operations), len(partitions), outside)


def _inside(partition: Planned, operations: Sequence[Planned], makers: dict[int, int]) -> Iterator[int]:
    """The operations in a partition, by their indices."""
    seen = set(partition.inputs)
    wanted = list(partition.outputs)
    while wanted:
        tensor = wanted.pop()
        if tensor in makers and tensor not in seen:
            index = makers[tensor]
            seen.update(operations[index].outputs)
            wanted += operations[index].inputs
            yield index
