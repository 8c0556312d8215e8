"""Where a TFLite file goes from integers to floats or back: each place by its name, with what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evim_deploy.formats import Operation
from evim_deploy.inspection.xnnpack import FLOAT_ONLY

_TYPES = ("QUANTIZE", "DEQUANTIZE")
_PIXELS = "uint8"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """An operation that gives a value in another type.

    Attributes:
        operation: Its name.
        type: Its type.
        takes: Name of the value.
        source: Its element type before.
        target: And after.
        reason: What it is for, in one sentence.
    """

    operation: str
    type: str
    takes: str
    source: str
    target: str
    reason: str


def conversions(operations: Sequence[Operation]) -> tuple[Conversion, ...]:
    """Those of a function's operations, in its order; of constants none."""
    found = [each for each in operations if each.type in _TYPES and not each.inputs[0].is_constant]
    return tuple(
        Conversion(
            operation=each.name,
            type=each.type,
            takes=each.inputs[0].name,
            source=each.inputs[0].dtype,
            target=each.outputs[0].dtype,
            reason=_reason(each, operations),
        )
        for each in found
    )


def _reason(conversion: Operation, operations: Sequence[Operation]) -> str:
    behind = _behind(conversion, operations)
    if conversion.type == "QUANTIZE":
        first = ", ".join(dict.fromkeys(each.type for each in behind[:1]))
        return f"From here on {first or 'what takes it'} computes in integers."
    lacking = ", ".join(dict.fromkeys(each.type for each in behind if each.type in FLOAT_ONLY))
    if lacking:
        return f"It leads to {lacking}, which XNNPACK computes in floats alone."
    if conversion.inputs[0].dtype == _PIXELS:
        return "XNNPACK has no way from uint8 to int8 but over floats."
    return "It is given in floats." if not behind else f"{behind[0].type} takes floats."


def _behind(conversion: Operation, operations: Sequence[Operation]) -> list[Operation]:
    """What follows an operation, up to the next conversions."""
    reached = {value.name for value in conversion.outputs}
    found = []
    for each in operations:
        if each.type not in _TYPES and reached.intersection(value.name for value in each.inputs):
            found.append(each)
            reached.update(value.name for value in each.outputs)
    return found
