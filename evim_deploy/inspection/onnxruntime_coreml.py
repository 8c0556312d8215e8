"""ONNX Runtime's Core ML provider, which runs ONNX files on an iPhone's accelerators.

The CPU provider runs every ONNX operation. Only documented limitations have a rule.
"""

from __future__ import annotations

from evim_deploy.formats import FileFunction, FileOperation
from evim_deploy.inspection.rules import Backend, Rule, Severity, first, shown, square_of_pixels

LONGEST_AXIS = 16384

_HELPER = "https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/providers/coreml/builders/helper.cc"
_OPTIONS = "https://onnxruntime.ai/docs/api/objectivec/Classes/ORTCoreMLExecutionProviderOptions.html"


def _axis_length(operation: FileOperation, function: FileFunction) -> str:
    """The provider checks the inputs, weights included."""
    for value in operation.inputs:
        longest = max((axis for axis in value.shape or () if isinstance(axis, int)), default=0)
        if longest > LONGEST_AXIS:
            return f"{longest} in {shown(value)}{square_of_pixels(function, longest, LONGEST_AXIS)}"
    return ""


def _no_shape(operation: FileOperation, function: FileFunction) -> str:
    return first(f"{value.name} has no shape" for value in operation.inputs if value.shape is None)


def _dynamic(operation: FileOperation, function: FileFunction) -> str:
    (value,) = operation.outputs
    return shown(value) if any(isinstance(axis, str) for axis in value.shape or ()) else ""


ONNXRUNTIME_COREML = Backend(
    "onnxruntime_coreml",
    "ONNX Runtime's Core ML provider",
    (
        Rule(
            id="axis_length",
            severity=Severity.BLOCKS,
            reason=f"The provider leaves an operation to the CPU if an axis of an input is longer than {LONGEST_AXIS}.",
            source=f"{_HELPER} (IsInputSupported)",
            find=_axis_length,
        ),
        Rule(
            id="no_shape",
            severity=Severity.BLOCKS,
            reason="The provider leaves an operation to the CPU if the shape of an input is not known.",
            source=f"{_HELPER} (IsInputSupported)",
            find=_no_shape,
        ),
        Rule(
            id="dynamic_shape",
            severity=Severity.SLOWS,
            reason="By default it runs operations with dynamic shapes, but they may be slower.",
            source=f"{_OPTIONS} (onlyAllowStaticInputShapes)",
            find=_dynamic,
            of_inputs=True,
        ),
    ),
)
