"""The operations of ONNX on tensors, opset 11 to 23: one pure function for each, by its name.

Each takes the node and its inputs, in ONNX's order: tensors, arrays of integers where a graph computes shapes, and
None for what is not given. What these functions do not do, they refuse.

Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from math import isclose, prod
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx.layer_norm import NORMALISE
from evim_deploy.networks.onnx.node import OnnxNode, Value, lengths, tensor
from evim_deploy.networks.onnx.shapes import slices
from evim_deploy.networks.onnx.windows import WINDOWS

Function = Callable[..., Any]

_SOFTMAX_OF_ONE_AXIS = 13  # the opset from which on it is not over all axes that follow
_SELU = 1.6732632423543772, 1.0507009873554805
"""alpha and gamma of the paper, which are ONNX's and torch's."""

_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
"""By ONNX's number of an element type."""


def _of(function: Callable[..., Tensor]) -> Function:
    """An operation on the elements of one or more tensors; a single number stays one."""

    def apply(node: OnnxNode, *values: Value) -> Tensor:
        like = max((value for value in values if isinstance(value, Tensor)), key=lambda value: value.ndim)
        return function(*(_operand(value, like) for value in values))

    return apply


def _operand(value: Value, like: Tensor) -> Any:
    """A number that adds no axis to the result stays a number."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= like.ndim:
        return value.item()
    return tensor(value, like)


def _where(node: OnnxNode, condition: Value, x: Value, y: Value) -> Tensor:
    floats = [value for value in (x, y) if isinstance(value, Tensor) and value.is_floating_point()]
    one, other = (tensor(value, *floats[:1]) for value in (x, y))
    return torch.where(tensor(condition), one, other)


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


def _clip(node: OnnxNode, x: Tensor, least: Value = None, greatest: Value = None) -> Tensor:
    limits = [None if value is None else node.scalar(value) for value in (least, greatest)]
    return x if limits == [None, None] else x.clamp(*limits)


def _prelu(node: OnnxNode, x: Tensor, slope: Value) -> Tensor:
    return torch.where(x < 0, x * tensor(slope, x), x)


def _gelu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.text("approximate", "none"))


def _selu(node: OnnxNode, x: Tensor) -> Tensor:
    alpha, gamma = node.number("alpha", _SELU[0]), node.number("gamma", _SELU[1])
    is_torchs = isclose(alpha, _SELU[0], rel_tol=1e-6) and isclose(gamma, _SELU[1], rel_tol=1e-6)
    return F.selu(x) if is_torchs else gamma * F.elu(x, alpha)


def _elu(node: OnnxNode, x: Tensor) -> Tensor:
    return F.elu(x, node.number("alpha", 1.0))


def _hard_sigmoid(node: OnnxNode, x: Tensor) -> Tensor:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    is_torchs = abs(alpha - 1 / 6) < 1e-6 and beta == 0.5
    return F.hardsigmoid(x) if is_torchs else (alpha * x + beta).clamp(0, 1)


def _cast(node: OnnxNode, x: Tensor) -> Tensor:
    target = node.integer("to", 1)
    if target not in _DTYPES:
        raise node.refused(f"casts to {TensorProto.DataType.Name(target)}")
    return x.to(_DTYPES[target])


def _dropout(node: OnnxNode, x: Tensor, ratio: Value = None, training: Value = None) -> Tensor:
    if training is not None and node.scalar(training):
        raise node.refused("is in training mode")
    return x


def _softmax(function: Callable[..., Tensor]) -> Function:
    """Before opset 13 over all axes from the named one on, together."""

    def apply(node: OnnxNode, x: Tensor) -> Tensor:
        if node.opset >= _SOFTMAX_OF_ONE_AXIS:
            return function(x, node.integer("axis", -1))
        axis = node.integer("axis", 1) % x.ndim
        return function(x, axis) if axis == x.ndim - 1 else function(x.flatten(axis), -1).reshape(lengths(x))

    return apply


def _identity(x: Tensor) -> Tensor:
    return x


def _reduced(function: Callable[..., Tensor], of_one: Callable[[Tensor], Tensor] = _identity) -> Function:
    """A reduction over axes that are an attribute, later an input; over all where none are given.

    Args:
        function: Reduces a tensor over axes, and keeps them with length 1 or not.
        of_one: The reduction of a single element. ONNX's text of ``noop_with_empty_axes``: composite reductions "still
            perform the non-reduction steps". ONNX Runtime does so from 1.24 on; 1.23 gave the input as it was.
    """

    def apply(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
        found = node.axes(axes)
        if not found and node.integer("noop_with_empty_axes", 0):
            return of_one(x)
        return function(x, [axis % x.ndim for axis in found or range(x.ndim)], bool(node.integer("keepdims", 1)))

    return apply


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    """torch multiplies along one axis at a time."""
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim)
    return x


def _length(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    """In steps, since onnx2tf cannot write ReduceL2. Squares of what is above 256 are infinite in float16."""
    wide = x.float() if x.dtype == torch.float16 else x
    return (wide * wide).sum(axes, keepdim).sqrt().to(x.dtype)


def _normalise(node: OnnxNode, x: Tensor) -> Tensor:
    """A LayerNorm over one axis, without weights."""
    axis = node.integer("axis", -1)
    last = x.transpose(axis, -1)
    return F.layer_norm(last, last.shape[-1:], eps=node.number("epsilon", 1e-5)).transpose(axis, -1)


def _rms_norm(node: OnnxNode, x: Tensor, scale: Value) -> Tensor:
    axes = list(range(node.integer("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + node.number("epsilon", 1e-5)) * tensor(scale, x)


def _local_norm(node: OnnxNode, x: Tensor) -> Tensor:
    """Each element by a power of the squares around it, of as many channels on both sides."""
    size, channels = node.integer("size", 1), lengths(x)[1]
    squares = F.pad(x * x, [0, 0] * (x.ndim - 2) + [size // 2] * 2)
    total = reduce(operator.add, (squares.narrow(1, first, channels) for first in range(size)))
    mean = total * (node.number("alpha", 1e-4) / size)
    return x / (mean + node.number("bias", 1.0)) ** node.number("beta", 0.75)


def _lp_norm(node: OnnxNode, x: Tensor) -> Tensor:
    """Zeros stay zeros."""
    axes = [node.integer("axis", -1)]
    norm = x.abs().sum(axes, True) if node.integer("p", 2) == 1 else _length(x, axes, True)
    return x / norm.clamp(min=torch.finfo(x.dtype).tiny)


def _gemm(node: OnnxNode, a: Tensor, b: Tensor, c: Value = None) -> Tensor:
    a = a.T if node.integer("transA", 0) else a
    b = b.T if node.integer("transB", 0) else b
    product = _times(node.number("alpha", 1.0), a @ b)
    return product if c is None else product + _times(node.number("beta", 1.0), tensor(c, product))


def _times(factor: float, x: Tensor) -> Tensor:
    return x if factor == 1 else factor * x


def _reshape(node: OnnxNode, x: Tensor, sizes: Value) -> Tensor:
    wanted = node.ints(sizes)
    if not node.integer("allowzero", 0):
        own = lengths(x)
        wanted = [own[i] if isinstance(size, int) and size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: OnnxNode, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis += x.ndim if axis < 0 else 0
    if axis == 1 < x.ndim:
        return x.flatten(1)  # (B, ...) -> (B, n)
    own = lengths(x)
    return x.reshape(prod(own[:axis]), prod(own[axis:]))


def _squeeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    found = node.axes(axes)
    return x.squeeze() if found is None else x.squeeze(found)


def _unsqueeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    wanted = node.axes(axes) or []
    rank = x.ndim + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _split(node: OnnxNode, x: Tensor, sections: Value = None) -> tuple[Tensor, ...]:
    """Sections from an attribute, an input, or, from the number of outputs, equal ones of which the last is shorter."""
    axis, parts = node.integer("axis", 0), len(node.outputs)
    if sections is not None or "split" in node.attributes:
        sizes = node.integers("split", ()) if sections is None else node.ints(sections)
        return x.split(sizes, axis)
    return x.split(-(-lengths(x)[axis] // parts), axis)


def _slice(node: OnnxNode, x: Tensor, *limits: Value) -> Tensor:
    """torch has no negative steps: what they take is picked."""
    index, own = slices(node, x.ndim, *limits), lengths(x)
    for axis, each in enumerate(index):
        if (each.step or 1) < 0:
            x = x.index_select(axis, torch.tensor(range(*each.indices(own[axis])), dtype=torch.int64))
            index[axis] = slice(None)
    return x[tuple(index)]


def _gather(node: OnnxNode, x: Value, index: Value) -> Tensor:
    data = tensor(x)
    own, axis = lengths(data), node.integer("axis", 0) % data.ndim
    if isinstance(index, np.ndarray):
        index = np.where(index < 0, index + own[axis], index)
        if index.ndim == 0:
            return data.select(axis, int(index))
    indices = tensor(index, data)
    found = data.index_select(axis, indices.reshape(-1))
    return found if indices.ndim == 1 else found.reshape(*own[:axis], *lengths(indices), *own[axis + 1 :])


def _expand(node: OnnxNode, x: Tensor, sizes: Value) -> Tensor:
    """Both shapes are widened to each other; an axis of open length stays."""
    wanted = node.ints(sizes)
    wanted = [1] * (x.ndim - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.ndim) + lengths(x)
    return x.expand(
        [size if isinstance(there, int) and there == 1 else there for there, size in zip(own, wanted, strict=True)]
    )


def _depth_to_space(node: OnnxNode, x: Tensor) -> Tensor:
    """A block's pixels lie beside each other in CRD, as torch has them, and a number of channels apart in DCR."""
    side = node.integer("blocksize", 1)
    batch, channels, height, width = lengths(x)
    if node.text("mode", "DCR") == "DCR":
        parts = x.reshape(batch, side**2, channels // side**2, height, width)
        x = parts.transpose(1, 2).reshape(batch, channels, height, width)
    return F.pixel_shuffle(x, side)


def _space_to_depth(node: OnnxNode, x: Tensor) -> Tensor:
    side = node.integer("blocksize", 1)
    batch, channels, height, width = lengths(x)
    parts = F.pixel_unshuffle(x, side).reshape(batch, channels, side**2, height // side, width // side)
    return parts.transpose(1, 2).reshape(batch, channels * side**2, height // side, width // side)


_LOGICAL: dict[str, Function] = {
    "Equal": _of(lambda x, y: x == y),
    "Greater": _of(lambda x, y: x > y),
    "GreaterOrEqual": _of(lambda x, y: x >= y),
    "Less": _of(lambda x, y: x < y),
    "LessOrEqual": _of(lambda x, y: x <= y),
    "And": _of(torch.logical_and),
    "Or": _of(torch.logical_or),
    "Not": _of(torch.logical_not),
    "Where": _where,
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
    "Sum": _of(lambda *xs: reduce(operator.add, xs)),
    "Mean": _of(lambda *xs: reduce(operator.add, xs) / len(xs)),
    "MatMul": _of(torch.matmul),
    "Gemm": _gemm,
    "Einsum": lambda node, *xs: torch.einsum(node.text("equation", ""), *map(tensor, xs)),
}

_ACTIVATIONS: dict[str, Function] = {
    "Relu": _of(F.relu),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.number("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
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
    "ReduceL1": _reduced(lambda x, axes, keepdim: x.abs().sum(axes, keepdim), torch.abs),
    "ReduceL2": _reduced(_length, torch.abs),
    "ReduceSumSquare": _reduced(lambda x, axes, keepdim: (x * x).sum(axes, keepdim), lambda x: x * x),
    "ReduceLogSumExp": _reduced(torch.logsumexp),
}

_NORMS: dict[str, Function] = {
    "RMSNormalization": _rms_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_norm,
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
