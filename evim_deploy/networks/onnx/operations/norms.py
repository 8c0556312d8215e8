"""Normalisations of ONNX on tensors, without trained statistics."""

from __future__ import annotations

import operator
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.networks.onnx.layer_norm import NORMALISE
from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value, lengths, tensor
from evim_deploy.networks.onnx.operations.reductions import l2_norm


def _normalise(node: OnnxNode, x: Tensor) -> Tensor:
    """A LayerNorm over one axis, without weights."""
    axis = node.integer("axis", -1)
    last = x.transpose(axis, -1)
    return F.layer_norm(last, last.shape[-1:], eps=node.number("epsilon", 1e-5)).transpose(axis, -1)


def _rms_norm(node: OnnxNode, x: Tensor, scale: Value) -> Tensor:
    axes = list(range(node.integer("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + node.number("epsilon", 1e-5)) * tensor(scale, x)


def _local_norm(node: OnnxNode, x: Tensor) -> Tensor:
    """Each element divided by a power of the squares of the channels around it."""
    size, channels = node.integer("size", 1), lengths(x)[1]
    squares = F.pad(x * x, [0, 0] * (x.ndim - 2) + [size // 2] * 2)
    total = reduce(operator.add, (squares.narrow(1, first, channels) for first in range(size)))
    mean = total * (node.number("alpha", 1e-4) / size)
    return x / (mean + node.number("bias", 1.0)) ** node.number("beta", 0.75)


def _lp_norm(node: OnnxNode, x: Tensor) -> Tensor:
    """Each element divided by the norm of its axis; zeros stay zeros."""
    axes = [node.integer("axis", -1)]
    norm = x.abs().sum(axes, True) if node.integer("p", 2) == 1 else l2_norm(x, axes, True)
    return x / norm.clamp(min=torch.finfo(x.dtype).tiny)


NORMS: dict[str, Operation] = {
    "RMSNormalization": _rms_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_norm,
    NORMALISE: _normalise,
}
