"""Values of a program as torch holds them, and how large one may be.

Floats are held as float32, whatever type the program gives them; integers as int32, int8 or uint8;
a constant of rank 0 is a scalar of Python's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from evim_deploy.formats.mil import Constant

Entry = TypeVar("Entry")

Value = Any
"""A tensor, a scalar of Python's, a string, an array of strings, or a dictionary of a classifier."""

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
"""What a type is held as."""

LARGEST_BYTES = 4 * 2**30
"""Of one value, as it is held: what is larger is not computed."""

_HELD_BYTES = 4  # of an element, at most


class TooLarge(ValueError):
    """A value that would take more than :data:`LARGEST_BYTES`."""


def known(table: Mapping[str, Entry], name: str, what: str) -> Entry:
    """What a table has of a name that a program gives.

    Raises:
        NotImplementedError: It has none: the program may be newer than the table.
    """
    if name not in table:
        raise NotImplementedError(f"{what} {name!r}")
    return table[name]


def from_constant(constant: Constant) -> Value:
    """A constant of a program."""
    array = constant.value
    dtype = DTYPES.get(constant.type.dtype)
    if not isinstance(array, np.ndarray) or dtype is None:
        return array
    return torch.from_numpy(np.array(array)).to(dtype)


def tensor(value: Tensor | float | bool) -> Tensor:
    """A value that may be a scalar of Python's, as a tensor."""
    if isinstance(value, Tensor):
        return value
    kinds = {bool: torch.bool, int: torch.int32, float: torch.float32}
    return torch.tensor(value, dtype=kinds[type(value)])


def integers(values: Tensor | int | None, default: list[int]) -> list[int]:
    """A vector of integers as Python's."""
    return default if values is None else [int(value) for value in tensor(values).flatten()]


def axes_of(axes: Tensor | int | None, rank: int) -> list[int]:
    """Axes, which may be counted from the last one, as they are counted from the first; all for None.

    Raises:
        IndexError: There is no such axis.
    """
    return [range(rank)[axis] for axis in integers(axes, list(range(rank)))]


def bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape that something is about to have.

    Raises:
        ValueError: A side is negative.
        TooLarge: It would take more than :data:`LARGEST_BYTES`.
    """
    sides = tuple(shape)
    if min(sides, default=0) < 0:
        raise ValueError(f"a value of shape {list(sides)}")
    if prod(sides) * _HELD_BYTES > LARGEST_BYTES:
        raise TooLarge(f"a value of shape {list(sides)}, which takes {prod(sides) * _HELD_BYTES / 2**30:.3g} GiB")
    return sides


def on_the_way(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape of what is computed on the way to a result; it may be larger than anything in the program.

    Raises:
        NotImplementedError: It would take more than :data:`LARGEST_BYTES`, which says nothing against the program.
    """
    try:
        return bounded(shape)
    except TooLarge as error:
        raise NotImplementedError(f"{error} on the way") from None
