"""The operator sets that an ONNX file can be written for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Opset:
    """Differences between the supported operator sets.

    Attributes:
        ir_version: IR version of the operator set's release; older runtimes refuse a newer IR version.
        axes_are_inputs: Whether the axes of ReduceMean are an input; in older sets they are an attribute.
        shape_has_start: Whether Shape has the attribute ``start``; in older sets its result is sliced.
    """

    ir_version: int
    axes_are_inputs: bool = True
    shape_has_start: bool = True


OPSETS = {
    13: Opset(7, axes_are_inputs=False, shape_has_start=False),
    14: Opset(7, axes_are_inputs=False, shape_has_start=False),
    15: Opset(8, axes_are_inputs=False),
    16: Opset(8, axes_are_inputs=False),
    17: Opset(8, axes_are_inputs=False),
    18: Opset(8),
    19: Opset(9),
    20: Opset(9),
    21: Opset(10),
    22: Opset(10),
    23: Opset(11),
}
"""From https://onnx.ai/onnx/repo-docs/Versioning.html and the operators' change logs.

13 is the first with today's Softmax, Split and ReduceSum; 23 is the last that ONNX Runtime 1.23 supports.
"""

DEFAULT_OPSET = 18
