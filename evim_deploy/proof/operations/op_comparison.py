"""Compare one operation of an artifact with the reference operation on the artifact's own inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from evim_deploy.artifact.trace import HALF, TracedOperation
from evim_deploy.graph.fixed_point import requantisation_error_bound
from evim_deploy.graph.interpreter import fake_quantise
from evim_deploy.graph.quantised import QuantParams
from evim_deploy.proof.operations.alignment import MatchedOp
from evim_deploy.proof.operations.arithmetic import apply, magnitudes, roundoffs, stored_steps
from evim_deploy.proof.operations.mismatched_weights import WeightComparison, mismatched_weights

MARGIN = 3.0
"""Factor on the estimated rounding error up to which an error is explained.

In the 228 traces (55616 operations) of 42 random tiny variants (three formats, two precisions, every mode; noise and
plain colours, 32 to 200 pixels a side), half of the operations have an error below 0.08 of the resulting bound, 99 in
100 below 0.32, and the worst 0.45; for M4 at 256x256 and 1024x1024 the worst is 0.48.
"""

_FLOAT_STEPS = 0.01
"""Precision with which float32 holds a 16-bit quantised value, in quantisation steps."""

SMALLEST_HALF, SMALLEST_NORMAL_HALF = 2.0**-25, 2.0**-14
"""Absolute float16 rounding error of tiny values, and the error if subnormals are flushed to zero."""

SMALLEST_NORMAL_SINGLE = 2.0**-126
"""Absolute float32 error if subnormals are flushed to zero."""


@dataclass(frozen=True, kw_only=True)
class OpComparison:
    """An operation of an artifact compared with the reference; values of all outputs, flat, float64.

    Attributes:
        op: The operation.
        mismatched: The weights that differ in the file.
        inputs: The operation's inputs by name.
        actual: The artifact's outputs.
        reference: The reference operation's outputs on the same inputs.
        explained: Bound of the rounding error of each value.
        off_grid: Which values are not quantised values of their parameters.
        rounding: Unit roundoff of the outputs.
        accumulation: Unit roundoff of the arithmetic inside the operation.
    """

    op: MatchedOp
    mismatched: Sequence[WeightComparison]
    inputs: Mapping[str, Tensor]
    actual: Tensor
    reference: Tensor
    explained: Tensor
    off_grid: Tensor
    rounding: float
    accumulation: float

    @cached_property
    def difference(self) -> Tensor:
        """The error of each value; infinite if only the artifact is not finite, 0 if the reference is not."""
        difference = (self.actual - self.reference).abs()
        difference[difference.isnan()] = torch.inf
        difference[~self.reference.isfinite()] = 0.0
        return difference

    @cached_property
    def excess(self) -> Tensor:
        """The error of each value in units of its bound."""
        return self.difference / (self.explained + torch.finfo(torch.float64).tiny)

    @property
    def diverges(self) -> bool:
        return bool(self.mismatched) or bool((self.excess > 1).any())


def compare_op(
    op: MatchedOp,
    *,
    traced: Sequence[TracedOperation],
    inputs: Mapping[str, Tensor],
    outputs: Sequence[Tensor],
    qparams: Mapping[str, QuantParams],
) -> OpComparison:
    """Compare an operation with the reference.

    Args:
        op: The operation.
        traced: The file's operations that compute it.
        inputs: The artifact's own values of ``op.inputs``, float64.
        outputs: The artifact's outputs, float64.
        qparams: Quantisation parameters of the graph's values by name.
    """
    values = dict(inputs)
    terms = {name: value.abs() for name, value in inputs.items()}
    sum_roundoffs = step_roundoffs = 0.0
    for node in op.nodes:
        operands = [values[name] for name in node.inputs]
        results = apply(node, operands)
        sizes = magnitudes(node, operands, [terms[name] for name in node.inputs], results)
        sum_roundoffs += roundoffs(node, operands)
        step_roundoffs += stored_steps(node, operands)
        named = dict(zip(node.outputs, results, strict=True))
        values.update(named if node is op.node else fake_quantise(named, qparams))
        terms.update(zip(node.outputs, sizes, strict=True))
    rounding = max(operation.rounding for operation in traced)
    accumulation = max(operation.accumulation for operation in traced)
    sums = flat([terms[name] for name in op.node.outputs])
    reference = flat([_clipped(values[name], qparams.get(name)) for name in op.node.outputs])
    half = SMALLEST_HALF if accumulation < HALF else SMALLEST_NORMAL_HALF
    smallest = half if rounding >= HALF else SMALLEST_NORMAL_SINGLE
    lost = sum_roundoffs * accumulation + step_roundoffs * rounding
    explained = MARGIN * (lost * sums + rounding * reference.abs() + smallest)
    off_grid = flat(
        [_off_grid(value, qparams.get(name), rounding) for name, value in zip(op.node.outputs, outputs, strict=True)]
    )
    steps = [torch.full_like(values[name], _quantisation_error(op, name, qparams)) for name in op.node.outputs]
    explained += ~off_grid * flat(steps)
    explained[~reference.isfinite()] = torch.inf
    return OpComparison(
        op=op,
        mismatched=mismatched_weights(op.named, [array for operation in traced for array in operation.weights]),
        inputs=inputs,
        actual=flat(outputs),
        reference=reference,
        explained=explained,
        off_grid=off_grid,
        rounding=rounding,
        accumulation=accumulation,
    )


def _quantisation_error(op: MatchedOp, output: str, qparams: Mapping[str, QuantParams]) -> float:
    """Bound of the error from quantising an output; 0 if it is not quantised."""
    computing = next((node for node in reversed(op.nodes) if node.weights), op.node)  # a ReLU rounds what it clips
    return requantisation_error_bound(computing, qparams, qparams[output]) if output in qparams else 0.0


def _off_grid(values: Tensor, qparams: QuantParams | None, rounding: float) -> Tensor:
    """Mask of values that are not multiples of the scale, within the precision of their type."""
    if qparams is None:
        return torch.zeros_like(values, dtype=torch.bool)
    steps = values / qparams.scale
    precision = _FLOAT_STEPS + (HALF * steps.abs() if rounding == HALF else 0.0)
    return (steps - steps.round()).abs() > precision


def _clipped(values: Tensor, qparams: QuantParams | None) -> Tensor:
    """Values clipped to the range of their quantisation parameters."""
    return values if qparams is None else values.clamp(*qparams.range)


def flat(values: Sequence[Tensor]) -> Tensor:
    """All values of some tensors, concatenated."""
    return torch.cat([value.flatten() for value in values])
