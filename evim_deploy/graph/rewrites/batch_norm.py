"""Fold BatchNorm into the convolution before it.

    gamma (W x + c - mean) / sqrt(variance + eps) + beta  =  (s W) x + (s (c - mean) + beta),
    s = gamma / sqrt(variance + eps), one scale for each output channel.

::

    before:  x ── conv ── batch_norm ── y
    after:   x ── conv ── y
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    conv: Node
    norm: Node


def _match(graph: Graph, norm: Node) -> _Match:
    conv = graph.producer(norm.inputs[0])
    if conv is None or conv.op != "conv":
        raise MatchFailure(norm, "its input is not a convolution")
    if graph.sole_consumer(conv.name) is None:
        raise MatchFailure(norm, f"{conv.name} is used elsewhere without the BatchNorm")
    return _Match(conv, norm)


def _replace(graph: Graph, match: _Match) -> None:
    conv, norm = match
    w = norm.weights
    scale = w["gamma"] / np.sqrt(w["variance"] + norm.eps())
    kernel = conv.weights["kernel"] * scale[:, None, None, None]
    bias = scale * (conv.weights.get("bias", 0.0) - w["mean"]) + w["beta"]
    graph.substitute(conv, conv.with_weights(kernel=kernel, bias=bias))
    graph.bypass(norm)


FOLD_BATCH_NORM = Rewrite("BatchNorm into its convolution", "batch_norm", _match, _replace)
