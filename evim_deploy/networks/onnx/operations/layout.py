"""Operations of ONNX that reorder, split, join or repeat the elements of tensors."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value, lengths, tensor
from evim_deploy.networks.onnx.shapes import slices


def _reshape(node: OnnxNode, x: Tensor, sizes: Value) -> Tensor:
    shape = node.ints(sizes)
    if not node.integer("allowzero", 0):
        own = lengths(x)
        shape = [own[i] if isinstance(size, int) and size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


def _flatten(node: OnnxNode, x: Tensor) -> Tensor:
    axis = node.integer("axis", 1)
    axis += x.ndim if axis < 0 else 0
    if axis == 1 < x.ndim:
        return x.flatten(1)  # (B, ...) -> (B, n)
    own = lengths(x)
    return x.reshape(prod(own[:axis]), prod(own[axis:]))


def _squeeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    own = node.axes(axes)
    return x.squeeze() if own is None else x.squeeze(own)


def _unsqueeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    added = node.axes(axes) or []
    rank = x.ndim + len(added)
    for axis in sorted(axis % rank for axis in added):
        x = x.unsqueeze(axis)
    return x


def _split(node: OnnxNode, x: Tensor, sections: Value = None) -> tuple[Tensor, ...]:
    """Sections from an attribute or an input; otherwise equal sections, one for each output, the last one shorter."""
    axis, parts = node.integer("axis", 0), len(node.outputs)
    if sections is not None or "split" in node.attributes:
        sizes = node.integers("split", ()) if sections is None else node.ints(sections)
        return x.split(sizes, axis)
    return x.split(-(-lengths(x)[axis] // parts), axis)


def _slice(node: OnnxNode, x: Tensor, *limits: Value) -> Tensor:
    """Slices; axes with a negative step, which torch does not support, are indexed."""
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
    gathered = data.index_select(axis, indices.reshape(-1))
    return gathered if indices.ndim == 1 else gathered.reshape(*own[:axis], *lengths(indices), *own[axis + 1 :])


def _expand(node: OnnxNode, x: Tensor, sizes: Value) -> Tensor:
    """Broadcast both shapes to each other; an axis of open length stays."""
    shape = node.ints(sizes)
    shape = [1] * (x.ndim - len(shape)) + shape
    own = [1] * (len(shape) - x.ndim) + lengths(x)
    return x.expand(
        [size if isinstance(there, int) and there == 1 else there for there, size in zip(own, shape, strict=True)]
    )


def _depth_to_space(node: OnnxNode, x: Tensor) -> Tensor:
    """The pixels of a block are adjacent channels in CRD, as in torch, and a number of channels apart in DCR."""
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


LAYOUT: dict[str, Operation] = {
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
