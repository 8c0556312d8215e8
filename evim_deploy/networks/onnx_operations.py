"""The operations of ONNX on tensors, opset 11 to 23: one pure function for each, by its name.

Each takes the node and its inputs, in ONNX's order: tensors, arrays of integers where a graph computes shapes, and
None for what is not given. What these functions do not do, they refuse.

Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx_layer_norm import NORMALISE
from evim_deploy.networks.onnx_node import Node, Value, tensor
from evim_deploy.networks.onnx_shapes import slices
from evim_deploy.networks.onnx_windows import WINDOWS

Function = Callable[..., Any]

_SOFTMAX_OF_ONE_AXIS = 13  # the opset from which on it is not over all axes that follow
_GROUP_NORM_BY_CHANNEL = 21
_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
"""By ONNX's number of an element type."""


def _of(function: Callable[..., Tensor]) -> Function:
    """An operation on the elements of one or more tensors; a single number stays one."""

    def apply(node: Node, *values: Value) -> Tensor:
        like = next(value for value in values if isinstance(value, Tensor))
        return function(*(_operand(value, like) for value in values))

    return apply


def _operand(value: Value, like: Tensor) -> Any:
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else tensor(value, like)


def _divide(x: Any, y: Any) -> Tensor:
    """Integers are divided towards zero."""
    whole = not any(
        isinstance(each, float) or (isinstance(each, Tensor) and each.is_floating_point()) for each in (x, y)
    )
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def _least(x: Any, y: Any) -> Tensor:
    return torch.minimum(*_both(x, y))


def _greatest(x: Any, y: Any) -> Tensor:
    return torch.maximum(*_both(x, y))


def _both(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    like = x if isinstance(x, Tensor) else y
    one, other = (each if isinstance(each, Tensor) else like.new_tensor(each) for each in (x, y))
    return one, other


def _clip(node: Node, x: Tensor, least: Value = None, greatest: Value = None) -> Tensor:
    limits = [None if value is None else node.scalar(value) for value in (least, greatest)]
    return x if limits == [None, None] else x.clamp(*limits)


def _prelu(node: Node, x: Tensor, slope: Value) -> Tensor:
    return torch.where(x < 0, x * tensor(slope, x), x)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.text("approximate", "none"))


def _elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.number("alpha", 1.0))


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    is_torchs = abs(alpha - 1 / 6) < 1e-6 and beta == 0.5
    return F.hardsigmoid(x) if is_torchs else (alpha * x + beta).clamp(0, 1)


def _cast(node: Node, x: Tensor) -> Tensor:
    target = node.integer("to", 1)
    if target not in _DTYPES:
        raise node.refused(f"casts to ONNX's element type {target}")
    return x.to(_DTYPES[target])


def _dropout(node: Node, x: Tensor, ratio: Value = None, training: Value = None) -> Tensor:
    if training is not None and node.scalar(training):
        raise node.refused("is in training mode")
    return x


def _softmax(function: Callable[..., Tensor]) -> Function:
    """Before opset 13 over all axes from the named one on, together."""

    def apply(node: Node, x: Tensor) -> Tensor:
        if node.opset >= _SOFTMAX_OF_ONE_AXIS:
            return function(x, node.integer("axis", -1))
        axis = node.integer("axis", 1) % x.ndim
        return function(x.flatten(axis), -1).reshape(x.shape)

    return apply


def _reduced(function: Callable[..., Tensor]) -> Function:
    """Of axes that are an attribute, later an input; of all where none are given."""

    def apply(node: Node, x: Tensor, axes: Value = None) -> Tensor:
        found = node.axes(axes)
        if not found and node.integer("noop_with_empty_axes", 0):
            return x
        return function(x, [axis % x.ndim for axis in found or range(x.ndim)], bool(node.integer("keepdims", 1)))

    return apply


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim)
    return x


def _layer_norm(node: Node, x: Tensor, scale: Value, offset: Value = None) -> Tensor:
    sizes = x.shape[node.integer("axis", -1) % x.ndim :]
    weight, bias = (None if each is None else tensor(each, x).expand(sizes) for each in (scale, offset))
    return F.layer_norm(x, sizes, weight, bias, node.number("epsilon", 1e-5))


def _normalise(node: Node, x: Tensor) -> Tensor:
    """A LayerNorm over one axis, without weights."""
    axis = node.integer("axis", -1)
    last = x.transpose(axis, -1)
    return F.layer_norm(last, last.shape[-1:], eps=node.number("epsilon", 1e-5)).transpose(axis, -1)


def _rms_norm(node: Node, x: Tensor, scale: Value) -> Tensor:
    axes = list(range(node.integer("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + node.number("epsilon", 1e-5)) * tensor(scale, x)


def _group_norm(node: Node, x: Tensor, scale: Value, offset: Value) -> Tensor:
    groups = node.integer("num_groups", 1)
    weight, bias = tensor(scale, x), tensor(offset, x)
    if node.opset < _GROUP_NORM_BY_CHANNEL:  # a weight for each group
        weight, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (weight, bias))  # (C,)
    return F.group_norm(x, groups, weight, bias, node.number("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Value, offset: Value) -> Tensor:
    weight, bias = tensor(scale, x), tensor(offset, x)
    return F.instance_norm(x, weight=weight, bias=bias, eps=node.number("epsilon", 1e-5))


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, node.integer("p", 2), node.integer("axis", -1), keepdim=True)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Value = None) -> Tensor:
    a = a.T if node.integer("transA", 0) else a
    b = b.T if node.integer("transB", 0) else b
    product = node.number("alpha", 1.0) * (a @ b)
    return product if c is None else product + node.number("beta", 1.0) * tensor(c, product)


def _reshape(node: Node, x: Tensor, sizes: Value) -> Tensor:
    wanted = node.ints(sizes)
    if not node.integer("allowzero", 0):
        wanted = [x.shape[i] if isinstance(size, int) and size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis += x.ndim if axis < 0 else 0
    if axis == 1:
        return x.flatten(1)  # (B, ...) -> (B, n)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def _squeeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    found = node.axes(axes)
    return x.squeeze() if found is None else x.squeeze(found)


def _unsqueeze(node: Node, x: Tensor, axes: Value = None) -> Tensor:
    wanted = node.axes(axes) or []
    rank = x.ndim + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _split(node: Node, x: Tensor, sections: Value = None) -> tuple[Tensor, ...]:
    """Sections from an attribute, an input, or, from the number of outputs, equal ones of which the last is shorter."""
    axis, parts = node.integer("axis", 0), len(node.outputs)
    if sections is not None or "split" in node.attributes:
        sizes = node.integers("split", ()) if sections is None else node.ints(sections)
        return x.split(sizes, axis)
    return x.split(-(-x.shape[axis] // parts), axis)


def _slice(node: Node, x: Tensor, *limits: Value) -> Tensor:
    index = slices(node, x.ndim, *limits)
    if any((each.step or 1) < 0 for each in index):
        raise node.refused("has a negative step")
    return x[tuple(index)]


def _gather(node: Node, x: Value, index: Value) -> Tensor:
    axis, data = node.integer("axis", 0), tensor(x)
    length = data.shape[axis]
    if isinstance(index, np.ndarray):
        index = np.where(index < 0, index + length, index)
        if index.ndim == 0:
            return data.select(axis, index.item())
    indices = tensor(index, data)
    axis %= data.ndim
    found = data.index_select(axis, indices.reshape(-1))
    return found.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


def _expand(node: Node, x: Tensor, sizes: Value) -> Tensor:
    """Both shapes are widened to each other."""
    wanted = node.ints(sizes)
    wanted = [1] * (x.ndim - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.ndim) + list(x.shape)
    return x.expand(
        [there if isinstance(there, int) and there != 1 else size for there, size in zip(own, wanted, strict=True)]
    )


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    side = node.integer("blocksize", 1)
    if node.text("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, side)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, side, side, channels // side**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // side**2, height * side, width * side)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    side = node.integer("blocksize", 1)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // side, side, width // side, side)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * side**2, height // side, width // side)


_LOGICAL: dict[str, Function] = {
    "Equal": _of(lambda x, y: x == y),
    "Greater": _of(lambda x, y: x > y),
    "GreaterOrEqual": _of(lambda x, y: x >= y),
    "Less": _of(lambda x, y: x < y),
    "LessOrEqual": _of(lambda x, y: x <= y),
    "And": _of(lambda x, y: x & y),
    "Or": _of(lambda x, y: x | y),
    "Not": _of(lambda x: ~x),
    "Where": _of(torch.where),
}

_ARITHMETIC: dict[str, Function] = {
    "Add": _of(lambda x, y: x + y),
    "Sub": _of(lambda x, y: x - y),
    "Mul": _of(lambda x, y: x * y),
    "Div": _of(_divide),
    "Pow": _of(lambda x, y: x**y),
    "Neg": _of(torch.neg),
    "Abs": _of(torch.abs),
    "Exp": _of(torch.exp),
    "Log": _of(torch.log),
    "Sqrt": _of(torch.sqrt),
    "Reciprocal": _of(torch.reciprocal),
    "Erf": _of(torch.erf),
    "Sin": _of(torch.sin),
    "Cos": _of(torch.cos),
    "Floor": _of(torch.floor),
    "Ceil": _of(torch.ceil),
    "Round": _of(torch.round),
    "Sign": _of(torch.sign),
    "Min": _of(lambda *xs: reduce(_least, xs)),
    "Max": _of(lambda *xs: reduce(_greatest, xs)),
    "Sum": _of(lambda *xs: reduce(torch.add, xs)),
    "Mean": _of(lambda *xs: reduce(torch.add, xs) / len(xs)),
    "MatMul": _of(torch.matmul),
    "Gemm": _gemm,
    "Einsum": lambda node, *xs: torch.einsum(node.text("equation", ""), *xs),
}

_ACTIVATIONS: dict[str, Function] = {
    "Relu": _of(F.relu),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.number("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _of(F.selu),
    "Sigmoid": _of(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of(F.hardswish),
    "Mish": _of(F.mish),
    "Tanh": _of(torch.tanh),
    "Softplus": _of(F.softplus),
    "Softsign": _of(F.softsign),
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
}

_REDUCTIONS: dict[str, Function] = {
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceProd": _reduced(_product),
    "ReduceL1": _reduced(lambda x, axes, keepdim: x.abs().sum(axes, keepdim)),
    "ReduceL2": _reduced(lambda x, axes, keepdim: torch.linalg.vector_norm(x, 2, axes, keepdim)),
    "ReduceSumSquare": _reduced(lambda x, axes, keepdim: (x * x).sum(axes, keepdim)),
    "ReduceLogSumExp": _reduced(torch.logsumexp),
}

_NORMS: dict[str, Function] = {
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LpNormalization": _lp_norm,
    NORMALISE: _normalise,
}

_SHAPES: dict[str, Function] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda node, x: x.permute(node.integers("perm", range(x.ndim)[::-1])),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": lambda node, *xs: torch.cat([tensor(x) for x in xs], node.integer("axis", 0)),
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": lambda node, x, repeats: x.repeat(node.ints(repeats)),
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}

OPERATIONS: dict[str, Function] = {
    "Identity": lambda node, x: x,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": lambda node, x, like: tensor(x).to(tensor(like).dtype),
    **_LOGICAL,
    **_ARITHMETIC,
    **_ACTIVATIONS,
    **_REDUCTIONS,
    **_NORMS,
    **_SHAPES,
    **WINDOWS,
}
