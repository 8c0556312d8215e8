"""The likely cause of an operation's divergence; the first that fits is the likeliest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import isinf

from torch import Tensor

from evim_deploy.artifact.trace import HALF
from evim_deploy.graph.half_precision import LARGEST_HALF
from evim_deploy.proof.operations.arithmetic import apply, inner_step
from evim_deploy.proof.operations.op_comparison import OpComparison, flat

_CLEAR = 4.0
"""Factor by which an error must exceed its bound before another reading of the values is considered."""


def likely_cause(comparison: OpComparison) -> str:
    """The cause in a few words; ``no known cause`` if none fits."""
    return next((cause for find in _CAUSES if (cause := find(comparison))), "no known cause")


def _overflow(comparison: OpComparison) -> str:
    lost = comparison.reference.isfinite() & ~comparison.actual.isfinite()
    if lost.any() and not any(isinf(each.largest) for each in comparison.mismatched):
        limit = f": float16 ends at {LARGEST_HALF:.0f}" if comparison.rounding == HALF else ""
        return f"overflow{limit}; {int(lost.sum())} of {lost.numel()} values are not finite"
    is_half = comparison.accumulation == HALF
    step = inner_step(comparison.op.node, list(comparison.inputs.values())) if is_half else None
    if step is not None and step.max() > LARGEST_HALF:
        return f"overflow: float16 ends at {LARGEST_HALF:.0f}; a sum inside it is {float(step.max()):.0f}"
    return ""


def _mismatched_weights(comparison: OpComparison) -> str:
    return "mismatched weights: " + "; ".join(map(str, comparison.mismatched)) if comparison.mismatched else ""


def _other_qparams(comparison: OpComparison) -> str:
    count = int(comparison.off_grid.sum())
    if not count:
        return ""
    return f"other quantisation parameters: {count} of {comparison.off_grid.numel()} values do not fit its own"


def _wrong_axis(comparison: OpComparison) -> str:
    bound = comparison.explained.max()
    if comparison.difference.max() <= _CLEAR * bound:
        return ""

    def agrees(reading: Tensor, actual: Tensor) -> bool:
        return bool(((actual - reading).abs() <= bound).all())

    if agrees(comparison.reference.sort().values, comparison.actual.sort().values):
        return "wrong axis: the values are correct, in another order"
    for name, reading in _readings(comparison):
        if reading.shape == comparison.actual.shape and agrees(reading, comparison.actual):
            return f"wrong axis: the values are those with {name}"
    return ""


def _readings(comparison: OpComparison) -> Iterator[tuple[str, Tensor]]:
    """The outputs of an operation with one input, with two axes of its kernel or of its input exchanged."""
    *_, node = comparison.op.nodes
    if len(comparison.op.nodes) > 1 or len(node.inputs) > 1:
        return
    (x,), kernel = comparison.inputs.values(), node.weights.get("kernel")
    if kernel is not None and kernel.shape[0] == kernel.shape[1]:
        yield "its kernel transposed", flat(apply(node.with_weights(kernel=kernel.swapaxes(0, 1).copy()), [x]))
    for i, j in combinations(range(2 if node.weights else 1, x.ndim), 2):
        outputs = apply(node, [x.transpose(i, j)])
        if all(output.ndim == x.ndim for output in outputs):
            yield f"axes {i} and {j} exchanged", flat([output.transpose(i, j) for output in outputs])


_CAUSES: tuple[Callable[[OpComparison], str], ...] = (_overflow, _mismatched_weights, _other_qparams, _wrong_axis)
