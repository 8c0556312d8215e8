"""Fold a layer scale into the convolution that it gates.

    a (W x + c)  =  (a W) x + a c, one factor for each output channel.

In EfficientViM (paper, section 3.3) this is a_3 at the FFN's second convolution; (1 - a_3) x, beside it, stays one
multiplication.

::

    before:  x ── conv ── scale a ── y
    after:   x ── conv ── y
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, scale: Node) -> bool:
    conv = graph.producer(scale.inputs[0])
    if conv is None or conv.op != "conv" or conv.is_depthwise:
        return (
            False  # a depthwise one's scale is the residual step's; see evim_deploy.graph.rewrites.depthwise_residual
        )
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(f"{conv.name} is used elsewhere without the scale")
    factor = scale.weights["scale"]
    weights = {"kernel": conv.weights["kernel"] * factor.reshape(-1, 1, 1, 1)}
    if "bias" in conv.weights:
        weights["bias"] = conv.weights["bias"] * factor
    graph.substitute(conv, conv.with_weights(**weights))
    graph.bypass(scale)
    return True


FOLD_LAYER_SCALE = Rewrite("layer scale into the FFN's second convolution", "scale", _apply)
