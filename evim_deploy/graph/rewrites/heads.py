"""Fold the fusion of the heads into one Linear over the concatenated features.

The logits (paper, Equations 12 and 13) are an affine function of the pooled features f_i: a weighted
sum of Linears, and in a distilled model the mean of two such sums,

    sum_i w_i (W_i f_i + b_i)  =  [w_1 W_1 | ... | w_4 W_4] [f_1; ...; f_4] + sum_i w_i b_i,

where the Linears of one feature add up first. A feature is the mean of a normalised tensor under
its LayerNorm's affine part, and a mean passes through that:

    W mean(gamma u + beta) + b  =  (W gamma) mean(u) + (W beta + b).

::

    before:  u_i ── scale ── shift ── mean ── linear ── scale ── add ... ── add ── logits
    after:   u_i ── mean ── concat ── linear ── logits
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite

_COMBINING = ("add", "scale")


@dataclass(frozen=True, kw_only=True)
class _Feature:
    """A pooled feature and its Linear, into which the affine part under the mean is folded.

    Attributes:
        value: Name of the feature.
        mean: The mean that computes it; None where another operation does.
        source: The input of the mean without the affine part.
        kernel: Weights of the Linear, (classes, C).
        bias: Its bias, (classes).
    """

    value: str
    mean: Node | None
    source: str
    kernel: Array
    bias: Array


class _Match(NamedTuple):
    """The last of the additions and scales, which gives the logits, and the features."""

    last: Node
    features: list[_Feature]


def _match(graph: Graph, add: Node) -> _Match | None:
    last = _last(graph, add)
    leaves = list(_leaves(graph, last, np.ones(1)))
    if all(leaf is None or leaf.op != "linear" for leaf, _ in leaves):
        return None

    sums: dict[str, tuple[Array, Array]] = {}
    for leaf, share in leaves:
        if leaf is not None and leaf.op in (*_COMBINING, "linear") and graph.sole_consumer(leaf.name) is None:
            raise MatchFailure(add, f"{leaf.name} is used elsewhere")
        if leaf is None or leaf.op != "linear":
            raise MatchFailure(add, "something is added that does not come from a Linear")
        kernel, bias = sums.get(leaf.inputs[0], (np.zeros(1), np.zeros(1)))
        weights = leaf.weights
        sums[leaf.inputs[0]] = (kernel + weights["kernel"] * share.reshape(-1, 1), bias + weights["bias"] * share)

    linears = {leaf.name for leaf, _ in leaves if leaf is not None}
    return _Match(last, [_feature(graph, add, value, *weights, linears) for value, weights in sums.items()])


def _last(graph: Graph, node: Node) -> Node:
    """The last of the additions and scales that follow an operation."""
    while (consumer := graph.sole_consumer(node.name)) is not None and consumer.op in _COMBINING:
        node = consumer
    return node


def _leaves(graph: Graph, node: Node, share: Array) -> Iterator[tuple[Node | None, Array]]:
    """The operations that a tree of additions and scales combines, each with its scale, (classes) or (1).

    The tree ends at a value that is used outside of it, too.
    """
    if node.op == "scale":
        share = share * node.weights["scale"]
    for value in node.inputs:
        operand = graph.producer(value)
        if operand is not None and operand.op in _COMBINING and graph.sole_consumer(value) is not None:
            yield from _leaves(graph, operand, share)
        else:
            yield operand, share


def _feature(graph: Graph, add: Node, value: str, kernel: Array, bias: Array, linears: set[str]) -> _Feature:
    mean = graph.producer(value)
    if mean is None or mean.op != "mean":
        return _Feature(value=value, mean=None, source=value, kernel=kernel, bias=bias)
    if graph.is_output(value) or not linears.issuperset(node.name for node in graph.consumers(value)):
        raise MatchFailure(add, f"{value} is used elsewhere")
    source = mean.inputs[0]
    while (node := graph.producer(source)) is not None and node.op in ("scale", "shift"):
        if graph.sole_consumer(source) is None:
            raise MatchFailure(add, f"{source} is used elsewhere")
        if node.op == "shift":
            bias = bias + kernel @ np.broadcast_to(node.weights["bias"], kernel.shape[1])
        else:
            kernel = kernel * node.weights["scale"]
        source = node.inputs[0]
    return _Feature(value=value, mean=mean, source=source, kernel=kernel, bias=bias)


def _replace(graph: Graph, match: _Match) -> None:
    last, features = match
    for feature in features:
        if feature.mean is not None:
            graph.substitute(feature.mean, replace(feature.mean, inputs=(feature.source,)))
    concat = f"{last.name}.features"
    weights = {
        "kernel": np.concatenate([feature.kernel for feature in features], axis=1),
        "bias": np.sum([feature.bias for feature in features], axis=0),
    }
    graph.substitute(
        last,
        Node(op="concat", inputs=tuple(feature.value for feature in features), outputs=(concat,)),
        Node(op="linear", inputs=(concat,), outputs=last.outputs, weights=weights),
    )


FUSE_HEADS = Rewrite("heads, fusion weights and distilled twin into one Linear", "add", _match, _replace)
