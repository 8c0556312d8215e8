"""Move the scale of a residual step's identity into the depthwise convolution that reads the sum.

    p x + q y  =  p (x + (q / p) y),   and a depthwise convolution K, each channel by itself, absorbs p:
    K (p z)  =  (K p) z, and the zeros of the padding stay zeros.

With p = 1 - a and q = a this is the step around the mixer and the one around the FFN (paper, section 3.3), where
q / p = e^alpha. The sum is left in other units than the model's, with a scale for each channel, and its name says so.
Later rewrites fold q / p as they fold q.

::

    before:  x ──────── scale p ─── add ── conv ── y        after:  x ──────────────── add ── conv ── y
             branch ─── scale q ─────┘                              branch ── scale ────┘
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from evim_deploy.graph.ir import RESCALED, Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite

MAX_RATIO = 32.0
"""The largest q / p: with it maps of up to 2000 stay within half precision's 65504."""


class _Match(NamedTuple):
    """The scales of the identity (p) and of the branch (q), their sum, and the convolution that reads it."""

    identity: Node
    branch: Node
    add: Node
    conv: Node


def _match(graph: Graph, add: Node) -> _Match | None:
    identity, branch = (graph.producer(value) for value in add.inputs)
    if identity is None or branch is None or {identity.op, branch.op} != {"scale"}:
        return None
    conv = graph.sole_consumer(add.name)
    if conv is None or not conv.is_depthwise:
        return None  # the end of a stage: the head or the user reads the map unchanged
    if graph.sole_consumer(identity.name) is None or graph.sole_consumer(branch.name) is None:
        raise MatchFailure(add, f"{identity.name} or {branch.name} is used elsewhere, too")
    p, q = identity.weights["scale"], branch.weights["scale"]
    if not p.all() or (abs(q) > MAX_RATIO * abs(p)).any():
        raise MatchFailure(
            add,
            f"{identity.name} is close to zero beside {branch.name}, and the ratio is too large for half precision",
        )
    return _Match(identity, branch, add, conv)


def _replace(graph: Graph, match: _Match) -> None:
    identity, branch, add, conv = match
    p, q = identity.weights["scale"], branch.weights["scale"]
    graph.substitute(conv, conv.with_weights(kernel=conv.weights["kernel"] * p.reshape(-1, 1, 1, 1)))
    graph.substitute(branch, branch.with_weights(scale=q / p))
    rescaled = add.name + RESCALED
    graph.substitute(add, replace(add, inputs=(identity.inputs[0], branch.name), outputs=(rescaled,)))
    graph.substitute(identity)
    graph.reconnect(add.name, rescaled)


FOLD_RESIDUAL_SCALE = Rewrite(
    "kept share of a residual step into the depthwise convolution after it", "add", _match, _replace
)
