"""Drop the mixer's A, to which its softmax is invariant.

A, the paper's a-hat (section 3.2), shifts all tokens of a state alike, and over those tokens

    softmax(dt + A)_l  =  e^A e^{dt_l} / sum_m e^A e^{dt_m}  =  softmax(dt)_l.

::

    before:  dt ── shift A ── softmax_tokens ── y
    after:   dt ── softmax_tokens ── y
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _match(graph: Graph, shift: Node) -> Node | None:
    softmaxes = [node for node in graph.consumers(shift.name) if node.op.startswith("softmax")]
    if not softmaxes:
        return None
    if graph.sole_consumer(shift.name) is None:
        raise MatchFailure(shift, "the shifted value is used outside of the softmax")
    if softmaxes[0].op != "softmax_tokens":
        raise MatchFailure(shift, "the softmax is over the channels, which the shift moves apart")
    return shift


DROP_STATE_BIAS = Rewrite("mixer's A dropped under its softmax", "shift", _match, Graph.bypass)
