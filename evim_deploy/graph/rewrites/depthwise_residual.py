"""Fold a residual step around a depthwise convolution into its centre tap.

A depthwise convolution K acts on each channel by itself, and the identity is the kernel with a
single one in its centre, so for factors p and q per channel

    p x + q (K x + c)  =  (q K + p I) x + q c.

With p = 1 - a and q = a this is a block's step (paper, section 3.3); with p = q = 1 the down-sampling's ``x + dw(x)``.

::

    before:  x ─┬─ scale p ─────────┬─ add ── y        after:  x ── conv ── y
                └─ conv ── scale q ─┘
"""

from __future__ import annotations

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, add: Node) -> bool:
    branches = [_unscaled(graph, value) for value in add.inputs]
    for (source, kept), (branch, gate) in (branches, branches[::-1]):
        conv = graph.producer(branch)
        if conv is not None and conv.is_depthwise and conv.inputs[0] == source:
            _check(graph, conv)
            kernel = conv.weights["kernel"] * gate.reshape(-1, 1, 1, 1)
            centre = kernel.shape[-1] // 2
            kernel[:, 0, centre, centre] += kept
            bias = np.broadcast_to(conv.weights.get("bias", np.zeros(1)) * gate, len(kernel)).copy()
            graph.substitute(conv, conv.with_weights(kernel=kernel, bias=bias))
            graph.nodes.remove(add)
            graph.reconnect(add.name, conv.name)
            return True
    return False


def _unscaled(graph: Graph, value: str) -> tuple[str, Array]:
    """A value as another one times a factor per channel; the factor is 1 where there is no scale."""
    node = graph.producer(value)
    if node is not None and node.op == "scale" and graph.sole_consumer(value) is not None:
        return node.inputs[0], node.weights["scale"]
    return value, np.ones(1)


def _check(graph: Graph, conv: Node) -> None:
    kernel = conv.weights["kernel"]
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(f"{conv.name} is used elsewhere without the residual")
    if conv.integer("stride") != 1:
        raise MatchFailure(f"{conv.name} has a stride, so its output does not align with its input")
    if kernel.shape[-1] % 2 == 0 or conv.integer("padding") != kernel.shape[-1] // 2:
        raise MatchFailure(f"{conv.name} has no centre tap at the pixel it computes")


FOLD_DEPTHWISE_RESIDUAL = Rewrite("residual step into its depthwise convolution", "add", _apply)
