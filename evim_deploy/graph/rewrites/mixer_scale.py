"""Move the mixer's layer scale from the map to the states, and into out_proj where possible.

    a (h C)  =  (a h) C, one scale for each of the D channels: on N states instead of L tokens;
    a (W s)  =  (a W) s, and the multiplication is gone.

The layer scale is that of the block (paper, section 3.3). The second step holds where h = W s feeds
y alone. In a stage's last block the head's LayerNorm reads h too, and a scale per channel would change
it: there the scaled states stand beside h.

::

    before:  s ── pointwise_conv ── h ── state_readout ── unflatten ── scale a ── y
    after:   s ── pointwise_conv ── state_readout ── unflatten ── y
    or:      s ── pointwise_conv ─┬─ scale a ── state_readout ── unflatten ── y
                                  └─ (head)
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    states: Node
    readout: Node
    scale: Node


def _match(graph: Graph, scale: Node) -> _Match | None:
    view = graph.producer(scale.inputs[0])
    readout = graph.producer(view.inputs[0]) if view is not None and view.op == "unflatten" else None
    if view is None or readout is None or readout.op != "state_readout":
        return None
    if graph.sole_consumer(view.name) is None or graph.sole_consumer(readout.name) is None:
        raise MatchFailure(scale, f"{readout.name} is used elsewhere without the scale")
    states = graph.producer(readout.inputs[0])
    if states is None or states.op != "pointwise_conv":
        raise MatchFailure(scale, f"the states of {readout.name} do not come from a projection")
    return _Match(states, readout, scale)


def _replace(graph: Graph, match: _Match) -> None:
    states, readout, scale = match
    a = scale.weights["scale"]
    if graph.sole_consumer(states.name) is not None:
        graph.substitute(states, states.with_weights(kernel=states.weights["kernel"] * a.reshape(-1, 1)))
    else:
        gated = f"{readout.name}.gated_states"
        graph.substitute(
            readout,
            Node(op="scale", inputs=(states.name,), outputs=(gated,), weights={"scale": a}),
            replace(readout, inputs=(gated, readout.inputs[1])),
        )
    graph.bypass(scale)


FOLD_MIXER_SCALE = Rewrite("layer scale of the mixer into out_proj or its states", "scale", _match, _replace)
