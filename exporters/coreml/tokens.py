"""Tokens in Core ML: a rank-3 view (B, C, L) for the two matrix products, or rows of a map if there are very many."""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813, the name in coremltools' own documentation

from evim_deploy.formats.coreml import LONGEST_AXIS
from evim_deploy.graph.ir import Node


def flatten(node: Node, name: str, x: Any) -> Any:
    batch, channels, height, width = x.shape
    if height * width > LONGEST_AXIS:
        return x  # tokens by rows: (B, C, H, W)
    return mb.reshape(x=x, shape=[batch, channels, height * width], name=name)  # (B, C, L)


def unflatten(node: Node, name: str, x: Any, like: Any) -> Any:
    return x if x.rank == 4 else mb.reshape(x=x, shape=like.shape, name=name)  # (B, C, H, W)


def softmax_tokens(node: Node, name: str, x: Any) -> Any:
    """Write the softmax step by step if it is spread: float16 holds a row's mean of exponentials, but not their sum."""
    times = node.spread(_tokens(x))
    if x.rank == 3 and times == 1:
        return mb.softmax(x=x, axis=2, name=name)
    largest = mb.reduce_max(x=x, axes=list(range(2, x.rank)), keep_dims=True)
    exponentials = mb.exp(x=mb.sub(x=x, y=largest))
    total = mb.reduce_mean(x=exponentials, axes=[x.rank - 1], keep_dims=True)
    if x.rank == 4:
        total = mb.reduce_sum(x=total, axes=[2], keep_dims=True)
    # the mean over all tokens is this sum divided by the length of a row
    share = mb.real_div(x=np.float32(times / x.shape[-1]), y=total)
    return mb.mul(x=exponentials, y=share, name=name)


def _by_rows(x: Any) -> list[Any]:
    """Split tokens into parts of at most :data:`LONGEST_AXIS`, (B, C, L) each."""
    if x.rank == 3:
        return [x]
    height, width = x.shape[2:]
    rows = LONGEST_AXIS // width
    sizes = [min(rows, height - start) for start in range(0, height, rows)]
    return [_flatten_rows(part) for part in mb.split(x=x, split_sizes=sizes, axis=2)]


def _flatten_rows(x: Any) -> Any:
    return mb.reshape(x=x, shape=[*x.shape[:2], x.shape[2] * x.shape[3]])  # (B, C, L)


def state_update(node: Node, name: str, u: Any, w: Any) -> Any:
    products = (mb.matmul(x=a, y=b, transpose_y=True) for a, b in zip(_by_rows(u), _by_rows(w), strict=True))
    states = functools.reduce(lambda x, y: mb.add(x=x, y=y), products)
    return mb.expand_dims(x=_unspread(node, states, u), axes=[2], name=name)  # (B, D, 1, N)


def state_readout(node: Node, name: str, h: Any, c: Any) -> Any:
    states = mb.squeeze(x=h, axes=[2])  # (B, D, N)
    if c.rank == 3:
        return mb.matmul(x=states, y=c, name=name)  # (B, D, L)
    parts = [mb.matmul(x=states, y=part) for part in _by_rows(c)]
    shapes = [[*part.shape[:2], part.shape[2] // c.shape[3], c.shape[3]] for part in parts]
    rows = [mb.reshape(x=part, shape=shape) for part, shape in zip(parts, shapes, strict=True)]
    return mb.concat(values=rows, axis=2, name=name)  # (B, D, H, W)


def sum_tokens(node: Node, name: str, x: Any) -> Any:
    total = mb.reduce_sum(x=x, axes=list(range(2, x.rank)), keep_dims=False)
    return mb.expand_dims(x=_unspread(node, total, x), axes=[1, 2], name=name)  # (B, 1, 1, N)


def _unspread(node: Node, total: Any, x: Any) -> Any:
    """Return a sum over the tokens x, divided by the factor of their spread weights."""
    times = node.spread(_tokens(x))
    return total if times == 1 else mb.mul(x=total, y=np.float32(1 / times))


def _tokens(x: Any) -> int:
    return prod(x.shape[2:])
