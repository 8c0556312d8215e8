"""Values of a MIL program in torch, and the limit on their size.

Floats of every type are held as float32; integers as int32, int8 or uint8; a constant of rank 0 as a Python scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from evim_deploy.formats.mil import Constant

Entry = TypeVar("Entry")

Value = Any
"""A tensor, a Python scalar, a string, an array of strings, or the dictionary of a classifier."""

Handlers = Mapping[str, Callable[..., Value]]
"""Functions that compute operations, by operation type."""

DTYPES: Mapping[str, torch.dtype] = {
    "float16": torch.float32,
    "float32": torch.float32,
    "float64": torch.float32,
    "bfloat16": torch.float32,
    "int64": torch.int32,
    "int32": torch.int32,
    "uint32": torch.int32,
    "int16": torch.int32,
    "uint16": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
    "int4": torch.int8,
    "uint6": torch.uint8,
    "uint4": torch.uint8,
    "uint3": torch.uint8,
    "uint2": torch.uint8,
    "uint1": torch.uint8,
}
"""The type that holds the elements of each MIL type."""

LARGEST_BYTES = 4 * 2**30
"""Limit on the size of a value as it is held; larger values are not computed."""

_HELD_BYTES = 4  # of an element, at most


class TooLarge(ValueError):
    """A value that would need more than :data:`LARGEST_BYTES`."""


def lookup(table: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """Return the entry of a table for a name in a program.

    Args:
        table: The table.
        name: The name.
        kind: Kind of the name, for the message.

    Raises:
        NotImplementedError: There is no such entry: the program may be newer than the table.
    """
    if name not in table:
        raise NotImplementedError(f"{kind} {name!r}")
    return table[name]


def from_constant(constant: Constant) -> Value:
    """Return a constant of a program as a value."""
    array = constant.value
    dtype = DTYPES.get(constant.type.dtype)
    if not isinstance(array, np.ndarray) or dtype is None:
        return array
    return torch.from_numpy(np.array(array)).to(dtype)


def tensor(value: Tensor | float | bool) -> Tensor:
    """Return a tensor or a Python scalar as a tensor."""
    if isinstance(value, Tensor):
        return value
    kinds = {bool: torch.bool, int: torch.int32, float: torch.float32}
    return torch.tensor(value, dtype=kinds[type(value)])


def integers(values: Tensor | int | None, default: list[int]) -> list[int]:
    """Return a vector of integers as a list, or the default for None."""
    return default if values is None else [int(value) for value in tensor(values).flatten()]


def axes_of(axes: Tensor | int | None, rank: int) -> list[int]:
    """Return axes as non-negative indices; all axes for None.

    Raises:
        IndexError: An axis is out of range.
    """
    return [range(rank)[axis] for axis in integers(axes, list(range(rank)))]


def bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape of a value after checking its size.

    Raises:
        ValueError: A side is negative.
        TooLarge: The value would need more than :data:`LARGEST_BYTES`.
    """
    sides = tuple(shape)
    if min(sides, default=0) < 0:
        raise ValueError(f"a value of shape {list(sides)}")
    if prod(sides) * _HELD_BYTES > LARGEST_BYTES:
        raise TooLarge(f"a value of shape {list(sides)}, which takes {prod(sides) * _HELD_BYTES / 2**30:.3g} GiB")
    return sides


def bounded_intermediate(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape of an intermediate value, which may be larger than any value in the program, after a check.

    Raises:
        NotImplementedError: The value would need more than :data:`LARGEST_BYTES`. The program may still be valid.
    """
    try:
        return bounded(shape)
    except TooLarge as error:
        raise NotImplementedError(f"{error} on the way") from None
