"""Operations that coremltools writes in a form that Core ML is reported to compute otherwise, in another form.

The reports are in :mod:`evim_deploy.inspection.core_ml`. Each form here has the value that PyTorch gives, and is made
of operations that no report concerns:

=============  ===============================================================================================
average pool   counted padding is an operation of its own, so that what is beyond it is all that is not counted
any pool       a last window that would lie in the padding alone is left out by padding less
softplus       max(x, 0) + log(1 + exp(-abs(x))), which overflows nowhere
logsumexp      the maximum taken out first, likewise
nearest        elements by their indices, where a scale is a fraction
=============  ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation
from coremltools.converters.mil.frontend.torch import ops
from coremltools.converters.mil.frontend.torch.ops import _get_inputs
from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
from torch.nn import functional

_RIGHT_KERNEL = 3
"""The widest kernel of an average pool over counted padding that is reported to be right."""

_STRAIGHT = 20
"""From here on log(1 + exp(x)) is x to the last bit of float32: PyTorch's usual threshold."""


@dataclass(frozen=True)
class _Axis:
    """Where the windows of a pool lie on an axis.

    Attributes:
        before: Padding before the first element.
        after: Padding that a window reaches after the last one.
        beyond: How far the last window reaches beyond all padding; 0 unless the number of windows is rounded up.
        is_cut: Whether PyTorch leaves out a window that lies in the padding alone.
    """

    before: int
    after: int
    beyond: int
    is_cut: bool


def _axis(side: int, size: int, step: int, pad: int, is_ceil: bool) -> _Axis:
    room = side + 2 * pad - size
    count = (-(-room // step) if is_ceil else room // step) + 1
    is_cut = is_ceil and (count - 1) * step >= side + pad
    reach = (count - 1 - is_cut) * step + size - side - pad
    return _Axis(pad, min(pad, max(0, reach)), max(0, reach - pad), is_cut)


def _axes(x: Any, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], is_ceil: bool) -> list[_Axis]:
    sides = x.shape[-len(kernel) :]
    return [_axis(*each, is_ceil) for each in zip(sides, kernel, stride, pad, strict=True)]


def _pool_parameters(inputs: Sequence[Any]) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride, which is the kernel unless given, and padding."""
    kernel = [int(size) for size in inputs[1].val]
    given = inputs[2].val if len(inputs) > 2 and inputs[2] is not None else None
    stride = kernel if given is None or not len(given) else [int(step) for step in given]
    return kernel, stride, [int(amount) for amount in inputs[3].val]


def _uneven(axes: Sequence[_Axis]) -> list[int]:
    """Padding up to the end of the last window, as MIL takes it."""
    return [amount for axis in axes for amount in (axis.before, axis.after + axis.beyond)]


def _avg_pool(context: Any, node: Any, original: Any) -> None:
    """Counted padding becomes elements, and what lies beyond them is never counted.

    Rounding the number of windows up without counting is reported to be right, and takes even padding alone.
    """
    inputs = _get_inputs(context, node)
    kernel, stride, pad = _pool_parameters(inputs)
    axes = _axes(inputs[0], kernel, stride, pad, bool(inputs[4].val))
    is_counted, has_divisor = bool(inputs[5].val), len(inputs) > 6 and inputs[6] is not None
    is_beyond, is_cut = any(axis.beyond for axis in axes), any(axis.is_cut for axis in axes)
    is_wrong = is_cut or (is_counted and (is_beyond or (any(pad) and max(kernel) > _RIGHT_KERNEL)))
    if has_divisor or not is_wrong:
        return original(context, node)
    x = inputs[0]
    if is_counted:
        added = [amount for axis in axes for amount in (axis.before, axis.after)]
        x = mb.pad(x=x, pad=[0] * 2 * (x.rank - len(kernel)) + added) if any(added) else x
        axes = [_Axis(0, 0, axis.beyond, axis.is_cut) for axis in axes]
    context.add(
        mb.avg_pool(
            x=x,
            kernel_sizes=kernel,
            strides=stride,
            pad_type="custom",
            pad=_uneven(axes) if is_cut else [0] * 2 * len(axes),
            ceil_mode=is_beyond and not is_cut,
            exclude_padding_from_average=True,
            name=node.name,
        )
    )
    return None


def _max_pool(context: Any, node: Any, original: Any) -> None:
    inputs = _get_inputs(context, node)
    kernel, stride, pad = _pool_parameters(inputs)
    is_dilated = any(gap != 1 for gap in inputs[4].val)  # which coremltools refuses in its own words
    axes = [] if is_dilated else _axes(inputs[0], kernel, stride, pad, bool(inputs[5].val))
    if not any(axis.is_cut for axis in axes):
        return original(context, node)
    pool = mb.max_pool(
        x=inputs[0],
        kernel_sizes=kernel,
        strides=stride,
        pad_type="custom",
        pad=_uneven(axes),
        name=node.name,
    )
    context.add(pool)
    return None


def avg_pool1d(context: Any, node: Any) -> None:
    _avg_pool(context, node, ops.avg_pool1d)


def avg_pool2d(context: Any, node: Any) -> None:
    _avg_pool(context, node, ops.avg_pool2d)


def max_pool1d(context: Any, node: Any) -> None:
    _max_pool(context, node, ops.max_pool1d)


def max_pool2d(context: Any, node: Any) -> None:
    _max_pool(context, node, ops.max_pool1d)


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
    """The elements that PyTorch takes, found by itself of an axis of numbers."""
    x, size, *scales = _get_inputs(context, node)
    heights, widths = _scales(scales)
    sides = [int(side) for side in x.shape[-2:]]
    given = [None, None] if size is None else [int(side) for side in size.val]
    taken = [_taken(*each) for each in zip(sides, given, (heights, widths), strict=True)]
    if all(len(indices) % side == 0 for indices, side in zip(taken, sides, strict=True)):
        return ops.upsample_nearest2d(context, node)
    rows = mb.gather(x=x, indices=taken[0], axis=x.rank - 2)
    context.add(mb.gather(x=rows, indices=taken[1], axis=x.rank - 1, name=node.name))
    return None


def _scales(given: Sequence[Any]) -> tuple[float | None, float | None]:
    """Of height and width; a trace has both in one, or each by itself, or none."""
    if len(given) == 1:
        return (None, None) if given[0] is None else (float(given[0].val[0]), float(given[0].val[1]))
    heights, widths = (None if each is None else float(each.val) for each in given)
    return heights, widths


def _taken(side: int, size: int | None, scale: float | None) -> Any:
    numbers = torch.arange(side, dtype=torch.float32).reshape(1, 1, side)
    if scale is None:
        resized = functional.interpolate(numbers, size=size, mode="nearest")
    else:
        resized = functional.interpolate(numbers, scale_factor=scale, mode="nearest", recompute_scale_factor=False)
    return resized.reshape(-1).numpy().astype(np.int32)


def reciprocal(context: Any, node: Any) -> None:
    """1 / x: the front end writes 1 / (x + 0.0001)."""
    (x,) = _get_inputs(context, node)
    context.add(mb.real_div(x=np.float32(1), y=x, name=node.name))


def register() -> None:
    """Put these in place of the front end's own."""
    pools = (avg_pool1d, avg_pool2d, max_pool1d, max_pool2d)
    for operation in (*pools, softplus, mish, logsumexp, upsample_nearest2d, reciprocal):
        register_torch_op(operation, override=True)
