"""One operation by itself: the reference operation on the artifact's own inputs, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evim_deploy.layers.alignment import Row
from evim_deploy.layers.operations import apply, magnitudes
from evim_deploy.layers.weights import Stale, stale_weights
from evim_deploy.trace import HALF, TracedOperation

SUMS, ROUNDINGS = 8.0, 2.0
"""Explained errors in units of roundoff: of the magnitudes of what is summed, and of the value that is stored."""

SMALLEST_HALF, SMALLEST_NORMAL_HALF = 2.0**-25, 2.0**-14
"""What rounding to float16 loses however small the value is, and what is lost where subnormals become zero."""


@dataclass(frozen=True)
class Judgement:
    """What an operation of an artifact gives beside what it should; values of all outputs, flat, float64.

    Attributes:
        row: The operation.
        stale: The weights that its file has otherwise.
        inputs: What it took.
        actual: What it gave.
        reference: What the reference operation gives for the same inputs.
        explained: Size of error that the arithmetic explains at each value.
        is_half: Whether it gave float16.
    """

    row: Row
    stale: Sequence[Stale]
    inputs: Mapping[str, Tensor]
    actual: Tensor
    reference: Tensor
    explained: Tensor
    is_half: bool

    @property
    def excess(self) -> Tensor:
        """The error at each value in units of what is explained; infinite where only the artifact is not finite."""
        difference = (self.actual - self.reference).abs()
        excess = torch.where(difference == 0, 0.0, difference / self.explained)
        excess = excess.nan_to_num(torch.inf, posinf=torch.inf)
        return torch.where(self.reference.isfinite(), excess, 0.0)

    @property
    def diverges(self) -> bool:
        return bool(self.stale) or bool((self.excess > 1).any())


def judge(
    row: Row, traced: Sequence[TracedOperation], inputs: Mapping[str, Tensor], outputs: Sequence[Tensor]
) -> Judgement:
    """Hold an operation against the reference's.

    Args:
        row: Which.
        traced: The operations of the file that compute it.
        inputs: The values that ``row.inputs`` names, the artifact's own.
        outputs: What the artifact gives for them.
    """
    stale = stale_weights(row.named, [array for operation in traced for array in operation.weights])
    values = dict(inputs)
    terms = {name: value.abs() for name, value in inputs.items()}
    for node in row.nodes:
        taken = [values[name] for name in node.inputs]
        given = apply(node, taken)
        sizes = magnitudes(node, taken, [terms[name] for name in node.inputs], given)
        values.update(zip(node.outputs, given, strict=True))
        terms.update(zip(node.outputs, sizes, strict=True))
    rounding = max(operation.rounding for operation in traced)
    accumulation = max(operation.accumulation for operation in traced)
    reference, sums = (flat([found[name] for name in row.node.outputs]) for found in (values, terms))
    lost = 0.0 if rounding < HALF else SMALLEST_HALF if accumulation < HALF else SMALLEST_NORMAL_HALF
    explained = SUMS * accumulation * sums + ROUNDINGS * (rounding * reference.abs() + lost)
    return Judgement(row, stale, inputs, flat(outputs), reference, explained, rounding == HALF)


def flat(values: Sequence[Tensor]) -> Tensor:
    """All values of some tensors, one after the other."""
    return torch.cat([value.flatten() for value in values])
