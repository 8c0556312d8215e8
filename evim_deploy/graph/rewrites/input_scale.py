"""Fold the scale of the input normalisation into the first convolution.

    W (s x)  =  (W s) x, one scale for each input channel; the zeros of the padding stay zeros.

With s = 1 / (255 std) the division is gone. The mean does not fold: the convolution pads with
zeros, which after the subtraction stand for the mean colour, so it stays one subtraction.

::

    before:  image ── shift ── scale s ── conv ── y
    after:   image ── shift ── conv ── y
"""

from __future__ import annotations

from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    scale: Node
    conv: Node


def _match(graph: Graph, scale: Node) -> _Match | None:
    before = graph.producer(scale.inputs[0])
    source = before.inputs[0] if before is not None and before.op == "shift" else scale.inputs[0]
    if source != graph.input_name:
        return None
    conv = graph.sole_consumer(scale.name)
    if conv is None:
        raise MatchFailure(scale, "the scaled image is used more than once")
    if conv.op == "shift":
        raise MatchFailure(scale, "a shift follows, and the convolution's padding would not be shifted")
    if conv.op != "conv" or conv.integer("groups") != 1:
        raise MatchFailure(scale, f"{conv.name} is not a full convolution")
    return _Match(scale, conv)


def _replace(graph: Graph, match: _Match) -> None:
    scale, conv = match
    kernel = conv.weights["kernel"] * scale.weights["scale"].reshape(1, -1, 1, 1)
    graph.substitute(conv, conv.with_weights(kernel=kernel))
    graph.bypass(scale)


FOLD_INPUT_SCALE = Rewrite("input scale into the first convolution", "scale", _match, _replace)
