"""The operations of ONNX on arrays that do not depend on pixels: from these a graph computes its shapes.

They are computed while the network runs or is traced, and do not become part of a trace. Where the batch is open, an
array holds torch's symbol for it: only elementwise functions of numpy are used. Constant folding such as onnxscript's,
which runs once for fixed sizes, does not replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from evim_deploy.networks.onnx.node import Host, OnnxNode, Value, lengths

_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""Element types by ONNX's number."""


def host(elements: Sequence[Any]) -> Host:
    """Integers or symbols as an array."""
    return plain(np.array(elements, dtype=object))


def plain(array: Host) -> Host:
    """An array of objects as an array of numbers, unless a symbol is among them."""
    if array.dtype != object or not all(isinstance(each, int | float | np.generic) for each in array.flat):
        return array
    return np.array(array.tolist()) if array.size else array.astype(np.int64)


def _shape(node: OnnxNode, x: Value) -> Host:
    """Shape of a tensor or an array; from opset 15 on for a range of its axes."""
    assert x is not None
    return host(lengths(x)[node.integer("start", 0) : node.attributes.get("end")])


def _cast(node: OnnxNode, x: Host) -> Host:
    target = node.integer("to", 7)
    if target not in _DTYPES:
        raise node.unsupported(f"casts to {TensorProto.DataType.Name(target)}")
    if x.dtype == object:  # a symbol stays itself
        convert: Callable[[Any], Any] = _DTYPES[target]
        elements = [convert(each) if isinstance(each, int | np.generic) else each for each in x.flat]
        return np.array(elements, dtype=object).reshape(x.shape)
    return x.astype(_DTYPES[target])


def _divide(node: OnnxNode, x: Host, y: Host) -> Host:
    """Integers are divided towards zero; the number of images is never negative."""
    if "f" in (x.dtype.kind, y.dtype.kind):
        return np.asarray(x / y)
    return np.asarray(x // y if object in (x.dtype, y.dtype) else np.sign(x) * np.sign(y) * (abs(x) // abs(y)))


def _modulo(node: OnnxNode, x: Host, y: Host) -> Host:
    """The remainder has the sign of the divisor, with ``fmod`` that of the dividend."""
    return np.asarray(np.fmod(x, y) if node.integer("fmod", 0) else x % y)


def slices(
    node: OnnxNode, rank: int, starts: Value, ends: Value, axes: Value = None, steps: Value = None
) -> list[slice]:
    """The slice of each axis, from the inputs of Slice."""
    index = [slice(None)] * rank
    first, last = node.ints(starts), node.ints(ends)
    along = range(len(first)) if axes is None else node.ints(axes)
    strides = [1] * len(first) if steps is None else node.ints(steps)
    for start, end, axis, step in zip(first, last, along, strides, strict=True):
        index[axis] = slice(start, end, step)
    return index


def _squeeze(node: OnnxNode, x: Host, axes: Host | None = None) -> Host:
    own = node.axes(axes)
    return x.squeeze(None if own is None else tuple(own))


def _reduced(function: Callable[..., Any]) -> Callable[..., Host]:
    def reduce(node: OnnxNode, x: Host, axes: Host | None = None) -> Host:
        own = node.axes(axes)
        if not own and node.integer("noop_with_empty_axes", 0):
            return x
        keeps = bool(node.integer("keepdims", 1))
        return np.asarray(function(x, axis=tuple(own) if own else None, keepdims=keeps))

    return reduce


def _reshape(node: OnnxNode, x: Host, sizes: Host) -> Host:
    shape = [int(size) for size in sizes]
    if not node.integer("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


def _filled(node: OnnxNode, sizes: Host) -> Host:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    return np.full(tuple(sizes.tolist()), value.ravel()[0], value.dtype)


HOST: dict[str, Callable[..., Host]] = {
    "Add": lambda node, x, y: x + y,
    "Sub": lambda node, x, y: x - y,
    "Mul": lambda node, x, y: x * y,
    "Div": _divide,
    "Mod": _modulo,
    "Neg": lambda node, x: -x,
    "Sqrt": lambda node, x: np.sqrt(x),
    "Floor": lambda node, x: np.floor(x),
    "Ceil": lambda node, x: np.ceil(x),
    "Min": lambda node, *xs: reduce(np.minimum, xs),
    "Max": lambda node, *xs: reduce(np.maximum, xs),
    "Equal": lambda node, x, y: np.asarray(x == y),
    "Not": lambda node, x: ~x,
    "Where": lambda node, condition, x, y: np.where(condition.astype(bool), x, y),
    "Cast": _cast,
    "Identity": lambda node, x: x,
    "Gather": lambda node, x, index: np.asarray(np.take(x, index.astype(np.int64), axis=node.integer("axis", 0))),
    "Concat": lambda node, *xs: np.concatenate(xs, axis=node.integer("axis", 0)),
    "Slice": lambda node, x, *limits: x[tuple(slices(node, x.ndim, *limits))],
    "Squeeze": _squeeze,
    "Unsqueeze": lambda node, x, axes=None: np.expand_dims(x, tuple(node.axes(axes) or ())),
    "Reshape": _reshape,
    "Transpose": lambda node, x: x.transpose(node.attributes.get("perm")),
    "Expand": lambda node, x, sizes: x * np.ones(sizes.tolist(), x.dtype),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "Range": lambda node, start, limit, step: np.arange(start.item(), limit.item(), step.item()),
    "ConstantOfShape": _filled,
}

SHAPES: dict[str, Callable[..., Host]] = {
    "Shape": _shape,
    "Size": lambda node, x: np.asarray(prod(lengths(x))),
}
"""Operations on the shape of a tensor."""
