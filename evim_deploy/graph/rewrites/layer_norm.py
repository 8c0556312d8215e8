"""Fold the affine part of the LayerNorm before the mixer into the projections that read it.

In the mixer's terms (paper, Equation 14), with u = gamma v + beta, v the normalised map, and w = A * B:

    BCdt_proj:  P u  =  (P gamma) v + P beta                     (1x1, so no padding reads beta)
    hz_proj:    W (u w^T)  =  (W gamma) (v w^T) + (W beta) s,    s = sum over tokens of w, (N).

Two operations on the (D, L) map become three on the (2D, N) states.

::

    before:  v ── scale ── shift ─┬─ conv
                                  └─ flatten ── state_update ── pointwise_conv
                                                     w ─┘

    after:   v ─┬─ conv (with a bias)
                └─ flatten ── state_update ── pointwise_conv ─┬─ add
                      w ── sum_tokens ── pointwise_conv ──────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    """The affine part, the convolutions that read it, and each state update of it with its projection."""

    scale: Node
    shift: Node
    convs: list[Node]
    updates: list[tuple[Node, Node]]


def _match(graph: Graph, norm: Node) -> _Match | None:
    scale = graph.sole_consumer(norm.name)
    shift = graph.sole_consumer(scale.name) if scale is not None and scale.op == "scale" else None
    if scale is None or shift is None or shift.op != "shift":
        return None
    consumers = graph.consumers(shift.name)
    if all(node.op == "mean" for node in consumers):
        return None  # a head's; see evim_deploy.graph.rewrites.heads
    if graph.is_output(shift.name):
        raise MatchFailure(norm, "the normalised map is an output")
    convs: list[Node] = []
    updates: list[tuple[Node, Node]] = []
    for node in consumers:
        if node.op == "conv":
            _check_conv(norm, node)
            convs.append(node)
        elif node.op == "flatten":
            updates += _updates(graph, norm, node)
        elif node.op != "unflatten" or node.inputs[0] == shift.name:
            raise MatchFailure(norm, f"{node.name} takes the normalised map")
    return _Match(scale, shift, convs, updates)


def _check_conv(norm: Node, conv: Node) -> None:
    if conv.weights["kernel"].shape[2:] != (1, 1) or conv.integer("padding") or conv.integer("groups") != 1:
        raise MatchFailure(norm, f"{conv.name} is not an unpadded 1x1 convolution")


def _updates(graph: Graph, norm: Node, flat: Node) -> Iterator[tuple[Node, Node]]:
    if graph.is_output(flat.name):
        raise MatchFailure(norm, f"{flat.name} is an output")
    for update in graph.consumers(flat.name):
        projection = graph.sole_consumer(update.name)
        is_update = update.op == "state_update" and update.inputs[0] == flat.name != update.inputs[1]
        if not is_update or projection is None or projection.op != "pointwise_conv":
            raise MatchFailure(norm, f"{update.name} does not write states for a projection alone")
        yield update, projection


def _replace(graph: Graph, match: _Match) -> None:
    gamma, beta = match.scale.weights["scale"], match.shift.weights["bias"]
    for conv in match.convs:
        kernel = conv.weights["kernel"]
        bias = conv.weights.get("bias", 0.0) + kernel[:, :, 0, 0] @ beta
        graph.substitute(conv, conv.with_weights(kernel=kernel * gamma[:, None, None], bias=bias))
    for update, projection in match.updates:
        _fold_projection(graph, update, projection, gamma, beta)
    graph.bypass(match.shift)
    graph.bypass(match.scale)


def _fold_projection(graph: Graph, update: Node, projection: Node, gamma: Array, beta: Array) -> None:
    kernel = projection.weights["kernel"]
    total, bias, biased = f"{update.name}.sum", f"{projection.name}.bias", f"{projection.name}.biased"
    graph.reconnect(projection.name, biased)
    graph.substitute(
        projection,
        Node(op="sum_tokens", inputs=(update.inputs[1],), outputs=(total,)),
        Node(op="pointwise_conv", inputs=(total,), outputs=(bias,), weights={"kernel": (kernel @ beta)[:, None]}),
        projection.with_weights(kernel=kernel * gamma),
        Node(op="add", inputs=(projection.name, bias), outputs=(biased,)),
    )


FOLD_LAYER_NORM = Rewrite("LayerNorm's affine part into BCdt_proj and hz_proj", "layer_norm", _match, _replace)
