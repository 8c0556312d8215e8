"""One operation by itself: the reference operation on the artifact's own inputs, and what is left."""

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
from evim_deploy.proof.operations.alignment import Row
from evim_deploy.proof.operations.arithmetic import apply, magnitudes, roundoffs, stored_steps
from evim_deploy.proof.operations.mismatched_weights import MismatchedWeights, mismatched_weights

MARGIN = 3.0
"""By how much an error may exceed what its roundings come to.

Of 55616 operations in the 228 traces of 42 random tiny variants (three formats, two precisions, every
mode; noise and plain colours, 32 to 200 pixels a side) half have an error below 0.08 of what is then
explained, 99 in 100 below 0.32, and the worst has 0.45; of M4 at 256x256 and 1024x1024 the worst has 0.48.
"""

_FLOAT_CODES = 0.01
"""Of a step: how well float32 tells a value of a grid of 16 bits."""

SMALLEST_HALF, SMALLEST_NORMAL_HALF = 2.0**-25, 2.0**-14
"""What rounding to float16 loses however small the value is, and what is lost where subnormals become zero."""

SMALLEST_NORMAL_SINGLE = 2.0**-126
"""The latter of float32."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an operation of an artifact gives beside what it should; values of all outputs, flat, float64.

    Attributes:
        row: The operation.
        stale: The weights that its file has otherwise.
        inputs: What it took.
        actual: What it gave.
        reference: What the reference operation gives for the same inputs.
        explained: Size of error that the arithmetic explains at each value.
        off_grid: Which values do not lie on the grid that they are rounded to.
        rounding: Unit roundoff of what it gives.
        accumulation: Unit roundoff of the arithmetic inside it.
    """

    row: Row
    stale: Sequence[MismatchedWeights]
    inputs: Mapping[str, Tensor]
    actual: Tensor
    reference: Tensor
    explained: Tensor
    off_grid: Tensor
    rounding: float
    accumulation: float

    @cached_property
    def difference(self) -> Tensor:
        """The error at each value; infinite where only the artifact is not finite, 0 where the reference is not."""
        difference = (self.actual - self.reference).abs()
        difference[difference.isnan()] = torch.inf
        difference[~self.reference.isfinite()] = 0.0
        return difference

    @cached_property
    def excess(self) -> Tensor:
        """The error at each value in units of what is explained."""
        return self.difference / (self.explained + torch.finfo(torch.float64).tiny)

    @property
    def diverges(self) -> bool:
        return bool(self.stale) or bool((self.excess > 1).any())


def judge(
    row: Row,
    traced: Sequence[TracedOperation],
    inputs: Mapping[str, Tensor],
    outputs: Sequence[Tensor],
    qparams: Mapping[str, QuantParams],
) -> Judgement:
    """Hold an operation against the reference's.

    Args:
        row: Which.
        traced: The operations of the file that compute it.
        inputs: The values that ``row.inputs`` names, the artifact's own.
        outputs: What the artifact gives for them.
        grids: Of the graph's values: what is rounded, and to what.
    """
    stale = mismatched_weights(row.named, [array for operation in traced for array in operation.weights])
    values = dict(inputs)
    terms = {name: value.abs() for name, value in inputs.items()}
    lost = stored = 0.0
    for node in row.nodes:
        taken = [values[name] for name in node.inputs]
        given = apply(node, taken)
        sizes = magnitudes(node, taken, [terms[name] for name in node.inputs], given)
        lost += roundoffs(node, taken)
        stored += stored_steps(node, taken)
        found = dict(zip(node.outputs, given, strict=True))
        values.update(found if node is row.node else fake_quantise(found, qparams))
        terms.update(zip(node.outputs, sizes, strict=True))
    rounding = max(operation.rounding for operation in traced)
    accumulation = max(operation.accumulation for operation in traced)
    sums = flat([terms[name] for name in row.node.outputs])
    reference = flat([_within(values[name], qparams.get(name)) for name in row.node.outputs])
    half = SMALLEST_HALF if accumulation < HALF else SMALLEST_NORMAL_HALF
    least = half if rounding >= HALF else SMALLEST_NORMAL_SINGLE
    explained = MARGIN * ((lost * accumulation + stored * rounding) * sums + rounding * reference.abs() + least)
    computing = next((node for node in reversed(row.nodes) if node.weights), row.node)  # a ReLU rounds what it clips
    steps = {
        name: requantisation_error_bound(computing, qparams, qparams[name]) if name in qparams else 0.0
        for name in row.node.outputs
    }
    off_grid = flat(
        [_off_grid(value, qparams.get(name), rounding) for name, value in zip(row.node.outputs, outputs, strict=True)]
    )
    explained += ~off_grid * flat([torch.full_like(values[name], step) for name, step in steps.items()])
    explained[~reference.isfinite()] = torch.inf
    return Judgement(
        row=row,
        stale=stale,
        inputs=inputs,
        actual=flat(outputs),
        reference=reference,
        explained=explained,
        off_grid=off_grid,
        rounding=rounding,
        accumulation=accumulation,
    )


def _off_grid(values: Tensor, grid: QuantParams | None, rounding: float) -> Tensor:
    """Which values are none of a grid's, as far as the type that they are in can tell."""
    if grid is None:
        return torch.zeros_like(values, dtype=torch.bool)
    steps = values / grid.scale
    unclear = _FLOAT_CODES + (HALF * steps.abs() if rounding == HALF else 0.0)
    return (steps - steps.round()).abs() > unclear


def _within(values: Tensor, grid: QuantParams | None) -> Tensor:
    """What is beyond the ends of its grid is at these."""
    return values if grid is None else values.clamp(*grid.range)


def flat(values: Sequence[Tensor]) -> Tensor:
    """All values of some tensors, one after the other."""
    return torch.cat([value.flatten() for value in values])
