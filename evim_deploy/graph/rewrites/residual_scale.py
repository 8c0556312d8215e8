"""Move the kept share of a residual step into the depthwise convolution that takes the sum.

    p x + q y  =  p (x + (q / p) y),   and a depthwise convolution K, each channel by itself, takes the factor:
    K (p z)  =  (K p) z, and zeros that pad stay zeros.

With p = 1 - a and q = a this is the step around the mixer and the one around the FFN (paper, section 3.3), where
q / p = e^alpha. The sum is left in other units than the model's, a factor for each channel, and its name says so.
Later rewrites fold q / p as they fold q.

::

    before:  x ──────── scale p ─── add ── conv ── y        after:  x ──────────────── add ── conv ── y
             branch ─── scale q ─────┘                              branch ── scale ────┘
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import RESCALED, Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite

MOST = 32.0
"""Of q / p: maps of up to 2000 stay within half precision's 65504."""


def _apply(graph: Graph, add: Node) -> bool:
    kept, gate = (graph.producer(value) for value in add.inputs)
    if kept is None or gate is None or {kept.op, gate.op} != {"scale"}:
        return False
    conv = graph.sole_consumer(add.name)
    if conv is None or not conv.is_depthwise:
        return False  # a stage's end: the head or the user takes the map as it is
    if graph.sole_consumer(kept.name) is None or graph.sole_consumer(gate.name) is None:
        raise MatchFailure(f"{kept.name} or {gate.name} is used elsewhere, too")
    factor, share = kept.weights["scale"], gate.weights["scale"]
    if not factor.all() or (abs(share) > MOST * abs(factor)).any():
        raise MatchFailure(
            f"{kept.name} is next to nothing beside {gate.name}, and half precision has no room for the ratio"
        )
    graph.substitute(conv, conv.with_weights(kernel=conv.weights["kernel"] * factor.reshape(-1, 1, 1, 1)))
    graph.substitute(gate, gate.with_weights(scale=share / factor))
    graph.bypass(kept)
    (rescaled,) = (node for node in graph.nodes if node.outputs == add.outputs)
    graph.substitute(rescaled, replace(rescaled, outputs=(add.name + RESCALED,)))
    graph.reconnect(add.name, add.name + RESCALED)
    return True


FOLD_RESIDUAL_SCALE = Rewrite("kept share of a residual step into the depthwise convolution after it", "add", _apply)
