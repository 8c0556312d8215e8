"""What only moves data: no arithmetic, but on a phone often the larger part of the time."""

from __future__ import annotations

from dataclasses import dataclass

from evim_deploy.formats import Axis, Operation, Value
from evim_deploy.inspection.classes import MOVEMENT, class_of, is_view

Shape = tuple[Axis, ...]

_TRANSPOSES = frozenset(["transpose", "Transpose", "TRANSPOSE"])


@dataclass(frozen=True, kw_only=True)
class Movement:
    """An operation that moves data.

    Attributes:
        operation: Its name.
        type: Its type.
        is_view: Whether contiguous data stays where it is, and only its shape is told anew.
        takes: Shapes of what it is given at run time.
        gives: Shapes of its outputs.
    """

    operation: str
    type: str
    is_view: bool
    takes: tuple[Shape | None, ...]
    gives: tuple[Shape | None, ...]


def movements(format_: str, operations: tuple[Operation, ...]) -> tuple[Movement, ...]:
    """Those of a function that moves data, in its order."""
    return tuple(_movement(operation) for operation in operations if class_of(format_, operation.type) == MOVEMENT)


def _movement(operation: Operation) -> Movement:
    takes = tuple(value for value in operation.inputs if not value.is_constant)
    unmoved = is_view(operation.type) or (operation.type in _TRANSPOSES and _keeps_order(takes[0], operation))
    return Movement(
        operation=operation.name,
        type=operation.type,
        is_view=unmoved,
        takes=tuple(value.shape for value in takes),
        gives=tuple(value.shape for value in operation.outputs),
    )


def _keeps_order(value: Value, operation: Operation) -> bool:
    """Whether a transpose moves axes of length 1 alone, which moves no element."""
    constants = [each.elements for each in operation.inputs if each.is_constant]
    permutation = operation.parameters.get("perm") or next(iter(constants), ())
    if value.shape is None or not isinstance(permutation, tuple) or len(permutation) != len(value.shape):
        return False
    axes = [axis % len(value.shape) for axis in permutation if isinstance(axis, int)]
    longer = [axis for axis in axes if value.shape[axis] != 1]
    return longer == sorted(longer)
