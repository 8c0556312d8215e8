"""The operations of ONNX on arrays that depend on no pixel: from these a graph computes its shapes.

They are computed while the network is traced and leave nothing in it. Where the batch is open, an array holds torch's
symbol for it: only what numpy does element by element is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from evim_deploy.networks.onnx_node import Host, Node, Value

_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""By ONNX's number of an element type."""


def host(elements: Sequence[Any]) -> Host:
    """Integers or symbols as an array."""
    plain = all(isinstance(element, int) for element in elements)
    return np.array(elements, dtype=np.int64 if plain else object)


def _shape(node: Node, x: Value) -> Host:
    """Shape, of a tensor or of an array; from opset 15 on of some of its axes."""
    assert x is not None
    return host(list(x.shape)[node.integer("start", 0) : node.attributes.get("end")])


def _cast(node: Node, x: Host) -> Host:
    target = node.integer("to", 7)
    if target not in _DTYPES:
        raise node.refused(f"casts to the element type {target}")
    return x if x.dtype == object else x.astype(_DTYPES[target])


def _divide(node: Node, x: Host, y: Host) -> Host:
    """Integers are divided towards zero; lengths are never negative."""
    return x / y if np.issubdtype(x.dtype, np.floating) else x // y


def slices(node: Node, rank: int, starts: Value, ends: Value, axes: Value = None, steps: Value = None) -> list[slice]:
    """What Slice takes of each axis, from its inputs."""
    index = [slice(None)] * rank
    first, last = node.ints(starts), node.ints(ends)
    along = range(len(first)) if axes is None else node.ints(axes)
    strides = [1] * len(first) if steps is None else node.ints(steps)
    for start, end, axis, step in zip(first, last, along, strides, strict=True):
        index[axis] = slice(start, end, step)
    return index


def _squeeze(node: Node, x: Host, axes: Host | None = None) -> Host:
    found = node.axes(axes)
    return x.squeeze(None if found is None else tuple(found))


def _reduced(function: Callable[..., Any]) -> Callable[..., Host]:
    def reduce(node: Node, x: Host, axes: Host | None = None) -> Host:
        found = node.axes(axes)
        keeps = bool(node.integer("keepdims", 1))
        return np.asarray(function(x, axis=None if found is None else tuple(found), keepdims=keeps))

    return reduce


def _filled(node: Node, sizes: Host) -> Host:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    return np.full(tuple(sizes.tolist()), value.ravel()[0], value.dtype)


HOST: dict[str, Callable[..., Host]] = {
    "Add": lambda node, x, y: x + y,
    "Sub": lambda node, x, y: x - y,
    "Mul": lambda node, x, y: x * y,
    "Div": _divide,
    "Mod": lambda node, x, y: x % y,
    "Neg": lambda node, x: -x,
    "Sqrt": lambda node, x: np.sqrt(x),
    "Floor": lambda node, x: np.floor(x),
    "Ceil": lambda node, x: np.ceil(x),
    "Min": lambda node, *xs: np.minimum.reduce(xs),
    "Max": lambda node, *xs: np.maximum.reduce(xs),
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
    "Reshape": lambda node, x, sizes: x.reshape([int(size) for size in sizes]),
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
    "Size": lambda node, x: np.asarray(prod(x.shape)),
}
"""What a graph asks of a tensor besides its elements."""
