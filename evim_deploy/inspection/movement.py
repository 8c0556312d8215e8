"""Operations that only move data: no arithmetic, but on a phone often most of the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evim_deploy.formats import Axis, FileOperation, Value
from evim_deploy.inspection.classes import OpClass, class_of, is_view

Shape = tuple[Axis, ...]

_TRANSPOSES = frozenset(["transpose", "Transpose", "TRANSPOSE"])


@dataclass(frozen=True, kw_only=True)
class DataMovement:
    """An operation that moves data.

    Attributes:
        operation: Its name.
        type: Its type.
        is_view: Whether contiguous data stays in place and only its shape changes.
        inputs: Shapes of its computed inputs.
        outputs: Shapes of its outputs.
    """

    operation: str
    type: str
    is_view: bool
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """The movement as plain JSON values."""
        return {
            "operation": self.operation,
            "type": self.type,
            "is_view": self.is_view,
            "takes": self.inputs,
            "gives": self.outputs,
        }


def movements(format_: str, operations: tuple[FileOperation, ...]) -> tuple[DataMovement, ...]:
    """The operations of a function that move data, in its order."""
    return tuple(
        _movement(operation) for operation in operations if class_of(format_, operation.type) == OpClass.MOVEMENT
    )


def _movement(operation: FileOperation) -> DataMovement:
    inputs = tuple(value for value in operation.inputs if not value.is_constant)
    unmoved = is_view(operation.type) or (operation.type in _TRANSPOSES and _keeps_order(inputs[0], operation))
    return DataMovement(
        operation=operation.name,
        type=operation.type,
        is_view=unmoved,
        inputs=tuple(value.shape for value in inputs),
        outputs=tuple(value.shape for value in operation.outputs),
    )


def _keeps_order(value: Value, operation: FileOperation) -> bool:
    """Whether a transpose moves only axes of length 1, which moves no element."""
    constants = [each.elements for each in operation.inputs if each.is_constant]
    permutation = operation.parameters.get("perm") or next(iter(constants), ())
    if value.shape is None or not isinstance(permutation, tuple) or len(permutation) != len(value.shape):
        return False
    axes = [axis % len(value.shape) for axis in permutation if isinstance(axis, int)]
    longer = [axis for axis in axes if value.shape[axis] != 1]
    return longer == sorted(longer)
