"""Fold a layer scale into the convolution before it.

    a (W x + c)  =  (a W) x + a c, one scale for each output channel.

In EfficientViM (paper, section 3.3) this is a_3 at the FFN's second convolution; (1 - a_3) x, beside it, stays one
multiplication. The scale of a depthwise convolution belongs to :mod:`evim_deploy.graph.rewrites.depthwise_residual`.

::

    before:  x ── conv ── scale a ── y
    after:   x ── conv ── y
"""

from __future__ import annotations

from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    conv: Node
    scale: Node


def _match(graph: Graph, scale: Node) -> _Match | None:
    conv = graph.producer(scale.inputs[0])
    if conv is None or conv.op != "conv" or conv.is_depthwise:
        return None
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(scale, f"{conv.name} is used elsewhere without the scale")
    return _Match(conv, scale)


def _replace(graph: Graph, match: _Match) -> None:
    conv, scale = match
    a = scale.weights["scale"]
    weights = {"kernel": conv.weights["kernel"] * a.reshape(-1, 1, 1, 1)}
    if "bias" in conv.weights:
        weights["bias"] = conv.weights["bias"] * a
    graph.substitute(conv, conv.with_weights(**weights))
    graph.bypass(scale)


FOLD_LAYER_SCALE = Rewrite("layer scale into the FFN's second convolution", "scale", _match, _replace)
