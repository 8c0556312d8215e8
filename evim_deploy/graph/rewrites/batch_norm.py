"""Fold BatchNorm into the convolution before it.

    gain (W x + c - mean) / sqrt(variance + eps) + bias  =  (s W) x + (s (c - mean) + bias),
    s = gain / sqrt(variance + eps), one factor for each output channel.

::

    before:  x ── conv ── batch_norm ── y
    after:   x ── conv ── y
"""

from __future__ import annotations

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, norm: Node) -> bool:
    conv = graph.producer(norm.inputs[0])
    if conv is None or conv.op != "conv":
        raise MatchFailure("its input is not a convolution")
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(f"{conv.name} is used elsewhere without the BatchNorm")
    w = norm.weights
    factor = w["gamma"] / np.sqrt(w["variance"] + norm.eps())
    bias = conv.weights.get("bias", 0.0)
    folded = conv.with_weights(
        kernel=conv.weights["kernel"] * factor[:, None, None, None], bias=factor * (bias - w["mean"]) + w["beta"]
    )
    graph.substitute(conv, folded)
    graph.bypass(norm)
    return True


FOLD_BATCH_NORM = Rewrite("BatchNorm into its convolution", "batch_norm", _apply)
