"""The weights of a function's operations, and the operations that run at inference.

Weights may reach their operation through a dequantisation, a cast or a look-up table. Operations on stored values alone
are constant-folded: an engine runs them once, at loading, and their bytes are attributed to the first consumer that
also has a computed input.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from evim_deploy.formats import Axis, FileFunction, FileOperation


@dataclass(frozen=True)
class LayerWeights:
    """The weights of an operation.

    Attributes:
        operation: Its name.
        type: Its type.
        shapes: Shapes of its stored inputs.
        bytes: Their size in the file; shared weights are counted at the first operation.
    """

    operation: str
    type: str
    shapes: tuple[tuple[Axis, ...] | None, ...]
    bytes: int


def layers(function: FileFunction) -> tuple[LayerWeights, ...]:
    """Operations with weights, the largest first."""
    fixed = fixed_values(function)
    counted: set[str] = set()
    passed: dict[str, int] = {}
    weighted = []
    for operation in function.operations:
        new = [value for value in operation.inputs if value.is_constant and value.name not in counted]
        counted |= {value.name for value in new}
        stored = sum({value.name: value.stored_bytes for value in new}.values())
        stored += sum(passed.pop(value.name, 0) for value in operation.inputs)
        if stored and operation.outputs and operation.outputs[0].name in fixed:
            passed[operation.outputs[0].name] = stored
        elif stored:
            weights = tuple(value.shape for value in operation.inputs if value.is_constant or value.name in fixed)
            weighted.append(LayerWeights(operation.name, operation.type, weights, stored))
    weighted += [LayerWeights(name, "constant", (), stored) for name, stored in passed.items()]
    return tuple(sorted(weighted, key=lambda layer: -layer.bytes))


def weight_types(function: FileFunction) -> dict[str, int]:
    """Bytes of stored values by element type, the largest first, in the file's packing."""
    values = {value.name: value for operation in function.operations for value in operation.inputs if value.is_constant}
    types: Counter[str] = Counter()
    for value in values.values():
        types[value.dtype] += value.stored_bytes
    return dict(types.most_common())


def fixed_values(function: FileFunction) -> frozenset[str]:
    """Names of the values that depend on stored values alone."""
    fixed: set[str] = set()
    for operation in function.operations:
        if all(value.is_constant or value.name in fixed for value in operation.inputs):
            fixed |= {value.name for value in operation.outputs}
    return frozenset(fixed)


def at_run_time(function: FileFunction) -> tuple[FileOperation, ...]:
    """The operations with a computed input; inputs that depend on stored values alone are marked as constants."""
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
