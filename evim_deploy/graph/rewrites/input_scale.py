"""Fold the scale of the input normalisation into the first convolution.

    W (s x)  =  (W s) x, one factor for each input channel, and zeros that pad stay zeros.

With s = 1 / (255 std) the division is gone. The mean does not fold: the convolution pads with
zeros, which after the subtraction stand for the mean colour, so it stays one subtraction.

::

    before:  image ── shift ── scale s ── conv ── y
    after:   image ── shift ── conv ── y
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, scale: Node) -> bool:
    before = graph.producer(scale.inputs[0])
    source = before.inputs[0] if before is not None and before.op == "shift" else scale.inputs[0]
    if source != graph.input_name:
        return False
    conv = graph.sole_consumer(scale.name)
    if conv is None:
        raise MatchFailure("the scaled image is used more than once")
    if conv.op == "shift":
        raise MatchFailure("a shift follows, and the convolution's padding would not be shifted")
    if conv.op != "conv" or conv.integer("groups") != 1:
        raise MatchFailure(f"{conv.name} is not a full convolution")
    kernel = conv.weights["kernel"] * scale.weights["scale"].reshape(1, -1, 1, 1)
    graph.substitute(conv, conv.with_weights(kernel=kernel))
    graph.bypass(scale)
    return True


FOLD_INPUT_SCALE = Rewrite("input scale into the first convolution", "scale", _apply)
