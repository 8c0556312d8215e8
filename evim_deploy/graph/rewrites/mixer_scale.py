"""Move the mixer's layer scale from the map to the states, and into out_proj where it may go.

    a (h C)  =  (a h) C, one factor for each of the D channels: on N states instead of L tokens;
    a (W s)  =  (a W) s, and the multiplication is gone.

The layer scale is that of the block (paper, section 3.3). The second step holds where h = W s feeds
y alone. In a stage's last block the head's LayerNorm takes h too, and is changed by a factor per
channel: there the scaled states stand beside h.

::

    before:  s ── project ── h ── read ── unflatten ── scale a ── y
    after:   s ── project ── read ── unflatten ── y
    or:      s ── project ─┬─ scale a ── read ── unflatten ── y
                           └─ (head)
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, scale: Node) -> bool:
    view = graph.producer(scale.inputs[0])
    read = graph.producer(view.inputs[0]) if view is not None and view.op == "unflatten" else None
    if view is None or read is None or read.op != "state_readout":
        return False
    if graph.sole_consumer(view.name) is None or graph.sole_consumer(read.name) is None:
        raise MatchFailure(f"{read.name} is used elsewhere without the scale")
    states = graph.producer(read.inputs[0])
    factor = scale.weights["scale"]
    if states is None or states.op != "pointwise_conv":
        raise MatchFailure(f"the states of {read.name} do not come from a projection")
    if graph.sole_consumer(states.name) is not None:
        kernel = states.weights["kernel"] * factor.reshape(-1, 1)
        graph.substitute(states, states.with_weights(kernel=kernel))
    else:
        scaled = Node(
            op="scale", inputs=(states.name,), outputs=(f"{read.name}.gated_states",), weights={"scale": factor}
        )
        graph.substitute(read, scaled, replace(read, inputs=(scaled.name, read.inputs[1])))
    graph.bypass(scale)
    return True


FOLD_MIXER_SCALE = Rewrite("layer scale of the mixer into out_proj or its states", "scale", _apply)
