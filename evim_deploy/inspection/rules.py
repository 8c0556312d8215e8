"""What a rule of a target is, and what it finds.

A rule looks at one operation, or at one input of a function, and says what of it is in the way: a
shape, a type, a parameter; nothing where all is well. Its reason and its source are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evim_deploy.formats import Axis, Function, Operation, Parameter, Value
from evim_deploy.inspection.classes import types

BLOCKS = "blocks"
SLOWS = "slows"
ROUNDS = "rounds"
DIFFERS = "differs"

SEVERITIES = (BLOCKS, SLOWS, ROUNDS, DIFFERS)
"""It stays off the target; it runs there, but slower than it could; it runs there, but its numbers may suffer; its
value there is reported to be another than the specification's."""

INPUT = "input"
"""Type of the subject where a rule looks at an input of a function."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that a target cannot do, or does badly.

    Attributes:
        id: Its name in reports.
        severity: One of :data:`SEVERITIES`.
        reason: Why it matters, in one sentence.
        source: Where that is written.
        find: What of an operation is in the way; empty where nothing is.
        of_inputs: Whether it looks at inputs of a function, as operations of type :data:`INPUT` with it as output.
        remedy: How else the operation can be written, where that is known.
    """

    id: str
    severity: str
    reason: str
    source: str
    find: Callable[[Operation, Function], str]
    of_inputs: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Target:
    """What runs operations.

    Attributes:
        id: Its name in reports.
        title: Its name for people.
        rules: Those that are known of it.
        clear: What is said of a function that no rule keeps an operation of away from it.
    """

    id: str
    title: str
    rules: tuple[Rule, ...]
    clear: str = "nothing known keeps an operation off it"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that an operation meets; ``detail`` is what of it is in the way."""

    rule: str
    severity: str
    operation: str
    type: str
    detail: str
    reason: str
    source: str


def check(target: Target, operations: tuple[Operation, ...], function: Function) -> tuple[Finding, ...]:
    """Everything that keeps operations of a function off a target, or slows them there."""
    return tuple(
        Finding(
            rule=rule.id,
            severity=rule.severity,
            operation=subject.name,
            type=subject.type,
            detail=detail,
            reason=rule.reason,
            source=rule.source,
        )
        for rule in target.rules
        for subject in (_inputs(function) if rule.of_inputs else operations)
        if (detail := rule.find(subject, function))
    )


def _inputs(function: Function) -> Iterator[Operation]:
    return (Operation(type=INPUT, name=value.name, inputs=(), outputs=(value,)) for value in function.inputs)


def told(value: Value) -> str:
    """A value's type and shape, for a detail."""
    return f"{value.dtype} {shown(value)}"


def shown(value: Value) -> str:
    """A value's shape, for people: ``1x64x256``."""
    return "of unknown rank" if value.shape is None else "x".join(map(str, value.shape)) or "scalar"


def rank(value: Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def axes_of(values: tuple[Value, ...], index: int = 0) -> tuple[Axis, ...]:
    """Axes of one of several values; none where there is no such value, or they are not known."""
    return values[index].shape or () if index < len(values) else ()


def last_length(axes: tuple[Axis, ...]) -> int:
    """Length of the last axis; 0 where it is not known."""
    return axes[-1] if axes and isinstance(axes[-1], int) else 0


def length_over(axes: tuple[Axis, ...], axis: Parameter | None) -> int:
    """Length of the axis that a parameter names, the last one if it names none; 0 where it is not known."""
    index = next(iter(integers(axis)), -1)
    length = axes[index] if -len(axes) <= index < len(axes) else 0
    return length if isinstance(length, int) else 0


def integers(parameter: Parameter | None) -> tuple[int, ...]:
    """A parameter that is one integer or several; empty where it is not given, or is none."""
    several = parameter if isinstance(parameter, tuple) else (parameter,)
    return tuple(each for each in several if isinstance(each, int) and not isinstance(each, bool))


def first(details: Iterator[str]) -> str:
    """The first detail, or none."""
    return next(details, "")


def of_types(names: str, detail: str) -> Callable[[Operation, Function], str]:
    """A rule's ``find`` for operations of certain types, whatever their values."""
    meant = types(names)
    return lambda operation, function: detail if operation.type in meant else ""


def square_of_pixels(function: Function, length: int, most: int) -> str:
    """At which input an axis of so many tokens has ``most`` of them; empty where it does not grow with the area."""
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
