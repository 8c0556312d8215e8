"""Fold the fusion of the heads into one Linear over the concatenated features.

The logits (paper, Equations 12 and 13) are an affine function of the pooled features f_i: a weighted
sum of Linears, and in a distilled model the mean of two such sums,

    sum_i w_i (W_i f_i + b_i)  =  [w_1 W_1 | ... | w_4 W_4] [f_1; ...; f_4] + sum_i w_i b_i,

where the Linears of one feature add up first. A feature is the mean of a normalised tensor under
its LayerNorm's affine part, and a mean passes through that:

    W mean(gain u + bias) + b  =  (W gain) mean(u) + (W bias + b).

::

    before:  u_i ── scale ── shift ── mean ── linear ── scale ── add ... ── add ── logits
    after:   u_i ── mean ── concat ── linear ── logits
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite

_COMBINING = ("add", "scale")


def _apply(graph: Graph, add: Node) -> bool:
    root = _root(graph, add)
    leaves = list(_leaves(graph, root, np.ones(1)))
    if all(leaf is None or leaf.op != "linear" for leaf, _ in leaves):
        return False

    sums: dict[str, tuple[Array, Array]] = {}
    for leaf, factor in leaves:
        if leaf is not None and leaf.op in (*_COMBINING, "linear") and graph.sole_consumer(leaf.name) is None:
            raise MatchFailure(f"{leaf.name} is used elsewhere")
        if leaf is None or leaf.op != "linear":
            raise MatchFailure("something is added that does not come from a Linear")
        kernel, bias = sums.get(leaf.inputs[0], (np.zeros(1), np.zeros(1)))
        weights = leaf.weights
        sums[leaf.inputs[0]] = (kernel + weights["kernel"] * factor.reshape(-1, 1), bias + weights["bias"] * factor)

    linears = {leaf.name for leaf, _ in leaves if leaf is not None}
    features = [_feature(graph, value, kernel, bias, linears) for value, (kernel, bias) in sums.items()]
    for feature in features:
        if feature.mean is not None:
            graph.substitute(feature.mean, replace(feature.mean, inputs=(feature.source,)))
    concat = Node(op="concat", inputs=tuple(sums), outputs=(f"{root.name}.features",))
    weights = {
        "kernel": np.concatenate([feature.kernel for feature in features], axis=1),
        "bias": np.sum([feature.bias for feature in features], axis=0),
    }
    graph.substitute(root, concat, Node(op="linear", inputs=(concat.name,), outputs=root.outputs, weights=weights))
    return True


def _root(graph: Graph, node: Node) -> Node:
    """The last of the additions and scales that a node takes part in."""
    while (user := graph.sole_consumer(node.name)) is not None and user.op in _COMBINING:
        node = user
    return node


def _leaves(graph: Graph, node: Node, factor: Array) -> Iterator[tuple[Node | None, Array]]:
    """The operations that a tree of additions and scales combines, each with its factor.

    The tree ends where a value is used outside of it too.
    """
    if node.op == "scale":
        factor = factor * node.weights["scale"]
    for value in node.inputs:
        operand = graph.producer(value)
        if operand is not None and operand.op in _COMBINING and graph.sole_consumer(value) is not None:
            yield from _leaves(graph, operand, factor)
        else:
            yield operand, factor


@dataclass(frozen=True)
class _Feature:
    """A pooled feature, and its Linear with the affine part under the mean taken in."""

    mean: Node | None
    source: str
    kernel: Array
    bias: Array


def _feature(graph: Graph, value: str, kernel: Array, bias: Array, linears: set[str]) -> _Feature:
    mean = graph.producer(value)
    if mean is None or mean.op != "mean":
        return _Feature(None, value, kernel, bias)
    if graph.is_output(value) or not linears.issuperset(user.name for user in graph.consumers(value)):
        raise MatchFailure(f"{value} is used elsewhere")
    source = mean.inputs[0]
    while (node := graph.producer(source)) is not None and node.op in ("scale", "shift"):
        if graph.sole_consumer(source) is None:
            raise MatchFailure(f"{source} is used elsewhere")
        if node.op == "shift":
            bias = bias + kernel @ np.broadcast_to(node.weights["bias"], kernel.shape[1])
        else:
            kernel = kernel * node.weights["scale"]
        source = node.inputs[0]
    return _Feature(mean, source, kernel, bias)


FUSE_HEADS = Rewrite("heads, fusion weights and distilled twin into one Linear", "add", _apply)
