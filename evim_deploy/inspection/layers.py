"""Where the weights of a function are, and what of it runs at all.

Weights reach the operation that computes with them through others: a dequantisation, a cast, a
look-up table. What depends on stored values alone is such a passage: its bytes belong to the first
operation behind it that also takes a computed value, and an engine does it once, as it loads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from evim_deploy.formats import Axis, Function, Operation


@dataclass(frozen=True)
class Layer:
    """An operation's weights.

    Attributes:
        operation: Its name.
        type: Its type.
        shapes: Those of its stored inputs.
        bytes: What they take in the file; weights that several share are counted at the first.
    """

    operation: str
    type: str
    shapes: tuple[tuple[Axis, ...] | None, ...]
    bytes: int


def layers(function: Function) -> tuple[Layer, ...]:
    """Operations with weights, the largest first."""
    fixed = fixed_values(function)
    counted: set[str] = set()
    passed: dict[str, int] = {}
    found = []
    for operation in function.operations:
        new = [value for value in operation.inputs if value.is_constant and value.name not in counted]
        counted |= {value.name for value in new}
        stored = sum({value.name: value.stored_bytes for value in new}.values())
        stored += sum(passed.pop(value.name, 0) for value in operation.inputs)
        if stored and operation.outputs and operation.outputs[0].name in fixed:
            passed[operation.outputs[0].name] = stored
        elif stored:
            weights = tuple(value.shape for value in operation.inputs if value.is_constant or value.name in fixed)
            found.append(Layer(operation.name, operation.type, weights, stored))
    found += [Layer(name, "constant", (), stored) for name, stored in passed.items()]
    return tuple(sorted(found, key=lambda layer: -layer.bytes))


def weight_types(function: Function) -> dict[str, int]:
    """Bytes of stored values by their type, the most first; of a few bits each, as the file packs them."""
    values = {value.name: value for operation in function.operations for value in operation.inputs if value.is_constant}
    types: Counter[str] = Counter()
    for value in values.values():
        types[value.dtype] += value.stored_bytes
    return dict(types.most_common())


def fixed_values(function: Function) -> frozenset[str]:
    """Names of the values that are computed from stored ones alone."""
    fixed: set[str] = set()
    for operation in function.operations:
        if all(value.is_constant or value.name in fixed for value in operation.inputs):
            fixed |= {value.name for value in operation.outputs}
    return frozenset(fixed)


def at_run_time(function: Function) -> tuple[Operation, ...]:
    """The operations that take a computed value, fixed ones among their inputs told as constants."""
    fixed = fixed_values(function)
    return tuple(
        replace(
            operation,
            inputs=tuple(
                replace(value, is_constant=True) if value.name in fixed else value for value in operation.inputs
            ),
        )
        for operation in function.operations
        if not all(value.is_constant or value.name in fixed for value in operation.inputs)
    )
