"""Replacements for operations that Core ML is reported to compute wrongly in the form that coremltools writes.

The reports are in :mod:`evim_deploy.inspection.core_ml`. Each replacement has PyTorch's value and consists of
operations without a report:

=============  ===============================================================================================
softplus       max(x, 0) + log(1 + exp(-abs(x))), which cannot overflow
logsumexp      the maximum is subtracted first, so it cannot overflow
nearest        a gather of elements by index, for fractional scales
=============  ===============================================================================================

Pools already have a form without a report: :mod:`evim_deploy.networks.torch_module.pools`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
from torch.nn import functional

_STRAIGHT = 20
"""Above this value log(1 + exp(x)) equals x in float32: PyTorch's default threshold."""


def _soft(x: Any) -> Any:
    """log(1 + exp(x))."""
    bounded = mb.exp(x=mb.mul(x=mb.abs(x=x), y=-1.0))  # in 0 to 1
    return mb.add(x=mb.relu(x=x), y=mb.log(x=mb.add(x=bounded, y=1.0)))


def softplus(context: Any, node: Any) -> None:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold."""
    x, beta, threshold = _get_inputs(context, node)
    scaled = x if beta.val == 1 else mb.mul(x=x, y=float(beta.val))
    y = _soft(scaled) if beta.val == 1 else mb.real_div(x=_soft(scaled), y=float(beta.val))
    if threshold.val < _STRAIGHT:
        y = mb.select(cond=mb.greater(x=scaled, y=float(threshold.val)), a=x, b=y)
    context.add(mb.identity(x=y, name=node.name))


def mish(context: Any, node: Any) -> None:
    """x tanh(softplus(x))"""
    (x,) = _get_inputs(context, node)
    context.add(mb.mul(x=x, y=mb.tanh(x=_soft(x)), name=node.name))


def logsumexp(context: Any, node: Any) -> None:
    """log(sum(exp(x))) over some axes."""
    x, axes, keeps = _get_inputs(context, node)
    over = [int(axis) for axis in axes.val]
    most = mb.reduce_max(x=x, axes=over, keep_dims=True)
    total = mb.reduce_sum(x=mb.exp(x=mb.sub(x=x, y=most)), axes=over, keep_dims=True)
    y = mb.add(x=mb.log(x=total), y=most)
    context.add(mb.identity(x=y, name=node.name) if keeps.val else mb.squeeze(x=y, axes=over, name=node.name))


def upsample_nearest2d(context: Any, node: Any) -> None:
    """Gather the elements that PyTorch selects; PyTorch itself selects them from a range of indices."""
    x, size, *scales = _get_inputs(context, node)
    heights, widths = _scales(scales)
    sides = [int(side) for side in x.shape[-2:]]
    sizes = [None, None] if size is None else [int(side) for side in size.val]
    indices = [_nearest_indices(*each) for each in zip(sides, sizes, (heights, widths), strict=True)]
    if all(len(each) % side == 0 for each, side in zip(indices, sides, strict=True)):
        return ops.upsample_nearest2d(context, node)
    rows = mb.gather(x=x, indices=indices[0], axis=x.rank - 2)
    context.add(mb.gather(x=rows, indices=indices[1], axis=x.rank - 1, name=node.name))
    return None


def _scales(scales: Sequence[Any]) -> tuple[float | None, float | None]:
    """Return the scales of height and width; a trace has one list, two numbers, or none."""
    if len(scales) == 1:
        return (None, None) if scales[0] is None else (float(scales[0].val[0]), float(scales[0].val[1]))
    heights, widths = (None if each is None else float(each.val) for each in scales)
    return heights, widths


def _nearest_indices(side: int, size: int | None, scale: float | None) -> Any:
    numbers = torch.arange(side, dtype=torch.float32).reshape(1, 1, side)
    if scale is None:
        resized = functional.interpolate(numbers, size=size, mode="nearest")
    else:
        resized = functional.interpolate(numbers, scale_factor=scale, mode="nearest", recompute_scale_factor=False)
    return resized.reshape(-1).numpy().astype(np.int32)


def register() -> None:
    """Register the replacements in coremltools' front end."""
    for operation in (softplus, mish, logsumexp, upsample_nearest2d):
        register_torch_op(operation, override=True)
