"""Fold a residual step around a depthwise convolution into its centre tap.

A depthwise convolution K acts on each channel by itself, and the identity is the kernel with a 1 in its centre and
zeros elsewhere. So for scales p and q per channel

    p x + q (K x + c)  =  (q K + p I) x + q c.

With p = 1 - a and q = a this is a block's step (paper, section 3.3); with p = q = 1 the down-sampling's ``x + dw(x)``.

::

    before:  x ─┬─ scale p ─────────┬─ add ── y        after:  x ── conv ── y
                └─ conv ── scale q ─┘
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    """The addition, the convolution, and the scales p and q of shape (C) or (1)."""

    add: Node
    conv: Node
    p: Array
    q: Array


def _match(graph: Graph, add: Node) -> _Match | None:
    terms = [_unscaled(graph, value) for value in add.inputs]
    for (x, p), (branch, q) in (terms, terms[::-1]):
        conv = graph.producer(branch)
        if conv is not None and conv.is_depthwise and conv.inputs[0] == x:
            _check(graph, add, conv)
            return _Match(add, conv, p, q)
    return None


def _unscaled(graph: Graph, value: str) -> tuple[str, Array]:
    """A value as another value and its scale per channel, which is 1 where there is none."""
    node = graph.producer(value)
    if node is not None and node.op == "scale" and graph.sole_consumer(value) is not None:
        return node.inputs[0], node.weights["scale"]
    return value, np.ones(1)


def _check(graph: Graph, add: Node, conv: Node) -> None:
    kernel = conv.weights["kernel"]
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(add, f"{conv.name} is used elsewhere without the residual")
    if conv.integer("stride") != 1:
        raise MatchFailure(add, f"{conv.name} has a stride, so its output does not align with its input")
    if kernel.shape[-1] % 2 == 0 or conv.integer("padding") != kernel.shape[-1] // 2:
        raise MatchFailure(add, f"{conv.name} has no centre tap at the pixel it computes")


def _replace(graph: Graph, match: _Match) -> None:
    add, conv, p, q = match
    kernel = conv.weights["kernel"] * q.reshape(-1, 1, 1, 1)
    centre = kernel.shape[-1] // 2
    kernel[:, 0, centre, centre] += p
    bias = np.broadcast_to(conv.weights.get("bias", np.zeros(1)) * q, len(kernel)).copy()
    graph.substitute(conv, conv.with_weights(kernel=kernel, bias=bias))
    graph.substitute(add)
    graph.reconnect(add.name, conv.name)


FOLD_DEPTHWISE_RESIDUAL = Rewrite("residual step into its depthwise convolution", "add", _match, _replace)
