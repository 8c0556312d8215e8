"""The operator sets that an ONNX file can be written for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Opset:
    """What differs between the operator sets that can be written.

    Attributes:
        ir_version: That it came with: older runtimes refuse a newer one.
        axes_are_inputs: Whether ReduceMean takes its axes as an input; before they are an attribute.
        shape_has_start: Whether Shape gives some of the axes; before they are sliced from all.
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

13 is the first where Softmax, Split and ReduceSum are what they are now; 23 the last that ONNX Runtime 1.23 has.
"""

USUAL_OPSET = 18
