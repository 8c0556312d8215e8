"""Rules of a backend, and their findings.

A rule examines one operation, or one input of a function, and names its obstacle: a shape, a type or a parameter. Each
rule has a reason and a source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from evim_deploy.formats import Axis, FileFunction, FileOperation, Parameter, Value
from evim_deploy.inspection.classes import types

INPUT = "input"
"""Type of the operation that represents an input of a function."""


class Severity(StrEnum):
    """The effect of a finding.

    ``blocks``: the operation does not run on the backend; ``slows``: it runs there, slowly; ``rounds``: it runs there,
    with less accuracy; ``differs``: its value there is reported to differ from the specification.
    """

    BLOCKS = "blocks"
    SLOWS = "slows"
    ROUNDS = "rounds"
    DIFFERS = "differs"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One limitation of a backend.

    Attributes:
        id: Its name in reports.
        severity: Its effect.
        reason: Why it matters, in one sentence.
        source: Where it is documented or reported.
        find: The obstacle in an operation, in words; empty if the operation conforms.
        of_inputs: Whether it examines inputs of a function, as operations of type :data:`INPUT` with one output.
        remedy: Another form of the operation, if one is known.
    """

    id: str
    severity: Severity
    reason: str
    source: str
    find: Callable[[FileOperation, FileFunction], str]
    of_inputs: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Backend:
    """An engine, a delegate or an accelerator that runs operations.

    Attributes:
        id: Its name in reports.
        title: Its name for people.
        rules: Its known limitations.
        clear: The verdict on a function without findings.
    """

    id: str
    title: str
    rules: tuple[Rule, ...]
    clear: str = "nothing known keeps an operation off it"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An operation that violates a rule; ``detail`` is the obstacle."""

    rule: str
    severity: Severity
    operation: str
    type: str
    detail: str
    reason: str
    source: str


def check(backend: Backend, operations: tuple[FileOperation, ...], function: FileFunction) -> tuple[Finding, ...]:
    """All findings of a backend's rules in the operations and inputs of a function."""
    return tuple(
        Finding(
            rule=rule.id,
            severity=rule.severity,
            operation=operation.name,
            type=operation.type,
            detail=detail,
            reason=rule.reason,
            source=rule.source,
        )
        for rule in backend.rules
        for operation in (_inputs(function) if rule.of_inputs else operations)
        if (detail := rule.find(operation, function))
    )


def _inputs(function: FileFunction) -> Iterator[FileOperation]:
    return (FileOperation(type=INPUT, name=value.name, inputs=(), outputs=(value,)) for value in function.inputs)


def typed_shape(value: Value) -> str:
    """A value's type and shape, for people: ``float32 1x64x256``."""
    return f"{value.dtype} {shown(value)}"


def shown(value: Value) -> str:
    """A value's shape, for people: ``1x64x256``."""
    return "of unknown rank" if value.shape is None else "x".join(map(str, value.shape)) or "scalar"


def rank(value: Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def axes_of(values: tuple[Value, ...], index: int = 0) -> tuple[Axis, ...]:
    """Axes of one of several values; empty if the value is missing or its axes are unknown."""
    return values[index].shape or () if index < len(values) else ()


def last_length(axes: tuple[Axis, ...]) -> int:
    """Length of the last axis; 0 if unknown."""
    return axes[-1] if axes and isinstance(axes[-1], int) else 0


def length_over(axes: tuple[Axis, ...], axis: Parameter | None) -> int:
    """Length of the axis that a parameter names, by default the last; 0 if unknown."""
    index = next(iter(integers(axis)), -1)
    length = axes[index] if -len(axes) <= index < len(axes) else 0
    return length if isinstance(length, int) else 0


def integers(parameter: Parameter | None) -> tuple[int, ...]:
    """A parameter of one integer or several; empty if it is missing or of another type."""
    several = parameter if isinstance(parameter, tuple) else (parameter,)
    return tuple(each for each in several if isinstance(each, int) and not isinstance(each, bool))


def first(details: Iterator[str]) -> str:
    """The first detail, or an empty text."""
    return next(details, "")


def of_types(names: str, detail: str) -> Callable[[FileOperation, FileFunction], str]:
    """A rule's ``find`` for operations of certain types."""
    matching = types(names)
    return lambda operation, function: detail if operation.type in matching else ""


def square_of_pixels(function: FileFunction, length: int, most: int) -> str:
    """The input size that keeps an axis of ``length`` tokens at ``most``, in words; empty if it has no tokens."""
    for value in function.inputs:
        shape = value.shape or ()
        sides = shape[2:] if len(shape) == 4 and shape[1] in (1, 3, 4) else shape[1:3]
        if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in sides):
            continue
        height, width = (int(side) for side in sides)
        for stride in range(1, min(height, width) + 1):
            if -(-height // stride) * -(-width // stride) == length:
                side = int(most**0.5) * stride
                return f"; an input of up to {side}x{side} keeps it at {most}"
    return ""
