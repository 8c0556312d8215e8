"""Why an operation diverges, where that can be told; the first cause that fits is the likeliest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from math import isinf

from torch import Tensor

from evim_deploy.artifact.trace import HALF
from evim_deploy.graph.half_precision import LARGEST_HALF
from evim_deploy.proof.operations.arithmetic import apply, inner_step
from evim_deploy.proof.operations.comparison import Judgement, flat

_CLEAR = 4.0
"""By how much an error must exceed what is explained before another reading of the values is believed."""


def likely_cause(judgement: Judgement) -> str:
    """In a few words; ``no known cause`` where none fits."""
    return next((cause for find in _CAUSES if (cause := find(judgement))), "no known cause")


def _overflow(judgement: Judgement) -> str:
    lost = judgement.reference.isfinite() & ~judgement.actual.isfinite()
    if lost.any() and not any(isinf(stale.largest) for stale in judgement.stale):
        ends = f": float16 ends at {LARGEST_HALF:.0f}" if judgement.rounding == HALF else ""
        return f"overflow{ends}; {int(lost.sum())} of {lost.numel()} values are not finite"
    node = judgement.row.node
    step = inner_step(node, list(judgement.inputs.values())) if judgement.accumulation == HALF else None
    if step is not None and step.max() > LARGEST_HALF:
        return f"overflow: float16 ends at {LARGEST_HALF:.0f}; a sum inside it is {float(step.max()):.0f}"
    return ""


def _stale_weight(judgement: Judgement) -> str:
    return "stale weight: " + "; ".join(map(str, judgement.stale)) if judgement.stale else ""


def _another_grid(judgement: Judgement) -> str:
    count = int(judgement.off_grid.sum())
    return f"another grid: {count} of {judgement.off_grid.numel()} values are none of its own" if count else ""


def _wrong_axis(judgement: Judgement) -> str:
    explained = judgement.explained.max()
    if judgement.difference.max() <= _CLEAR * explained:
        return ""

    def agrees(reading: Tensor, actual: Tensor) -> bool:
        return bool(((actual - reading).abs() <= explained).all())

    if agrees(judgement.reference.sort().values, judgement.actual.sort().values):
        return "wrong axis: its values are the right ones in another order"
    for what, reading in _readings(judgement):
        if reading.shape == judgement.actual.shape and agrees(reading, judgement.actual):
            return f"wrong axis: it fits with {what}"
    return ""


def _readings(judgement: Judgement) -> Iterator[tuple[str, Tensor]]:
    """What an operation of one input would give with two axes of its kernel, or of its input, exchanged."""
    *_, node = judgement.row.nodes
    if len(judgement.row.nodes) > 1 or len(node.inputs) > 1:
        return
    (x,), kernel = judgement.inputs.values(), node.weights.get("kernel")
    if kernel is not None and kernel.shape[0] == kernel.shape[1]:
        yield "its kernel transposed", flat(apply(node.with_weights(kernel=kernel.swapaxes(0, 1).copy()), [x]))
    for i, j in combinations(range(2 if node.weights else 1, x.ndim), 2):
        outputs = apply(node, [x.transpose(i, j)])
        if all(output.ndim == x.ndim for output in outputs):
            yield f"axes {i} and {j} exchanged", flat([output.transpose(i, j) for output in outputs])


_CAUSES: tuple[Callable[[Judgement], str], ...] = (_overflow, _stale_weight, _another_grid, _wrong_axis)
