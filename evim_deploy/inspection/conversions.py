"""Conversions between integers and floats in a TFLite file, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evim_deploy.formats import FileOperation
from evim_deploy.inspection.xnnpack import FLOAT_ONLY

_TYPES = ("QUANTIZE", "DEQUANTIZE")
_PIXELS = "uint8"


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """An operation that converts a value to another type.

    Attributes:
        operation: Its name.
        type: Its type.
        input: Name of the value.
        source: Its element type before the conversion.
        target: Its element type after the conversion.
        reason: Its purpose, in one sentence.
    """

    operation: str
    type: str
    input: str
    source: str
    target: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """The conversion as plain JSON values."""
        return {
            "operation": self.operation,
            "type": self.type,
            "takes": self.input,
            "source": self.source,
            "target": self.target,
            "reason": self.reason,
        }


def conversions(operations: Sequence[FileOperation]) -> tuple[Conversion, ...]:
    """The conversions of computed values in a function, in its order."""
    converting = [each for each in operations if each.type in _TYPES and not each.inputs[0].is_constant]
    return tuple(
        Conversion(
            operation=each.name,
            type=each.type,
            input=each.inputs[0].name,
            source=each.inputs[0].dtype,
            target=each.outputs[0].dtype,
            reason=_reason(each, operations),
        )
        for each in converting
    )


def _reason(conversion: FileOperation, operations: Sequence[FileOperation]) -> str:
    consumers = _consumers(conversion, operations)
    if conversion.type == "QUANTIZE":
        first = ", ".join(dict.fromkeys(each.type for each in consumers[:1]))
        return f"From here on {first or 'its consumer'} computes in integers."
    lacking = ", ".join(dict.fromkeys(each.type for each in consumers if each.type in FLOAT_ONLY))
    if lacking:
        return f"Its consumer {lacking} runs only in floats on XNNPACK."
    if conversion.inputs[0].dtype == _PIXELS:
        return "XNNPACK converts uint8 to int8 only through floats."
    return f"{consumers[0].type} has float inputs." if consumers else "The output is in floats."


def _consumers(conversion: FileOperation, operations: Sequence[FileOperation]) -> list[FileOperation]:
    """The operations that depend on an operation, up to the next conversions."""
    reached = {value.name for value in conversion.outputs}
    consumers = []
    for each in operations:
        if each.type not in _TYPES and reached.intersection(value.name for value in each.inputs):
            consumers.append(each)
            reached.update(value.name for value in each.outputs)
    return consumers
