"""Write the mixer's LayerNorm so that x is the only map that is computed.

With m and v the mean and the variance of a token's D channels, r = 1 / sqrt(v + eps) and K~ the kernel K with the mean
over its input channels subtracted,

    K ((x - m) r)        =  (K~ x) r                              since K m = (K's mean) (sum of x)
    W ((x - m) r w^T)    =  W~ (x (r w)^T)

So the projections read x, which is quantised already, and r, one number for each token, scales their outputs and
the weights of the tokens. In v = mean(x^2) - mean(x)^2 both are means over channels, summed in 32 bits.

::

    before:  x ── layer_norm ─┬─ conv ── y
                              └─ flatten ── state_update ── pointwise_conv
                                                 w ─┘

    after:   x ── conv~ ── multiply r ── shift ── y
             x ── flatten ── state_update ── pointwise_conv~
             w ── multiply r ─────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    """The norm, the convolutions that read it, and each state update of it with its projection."""

    norm: Node
    convs: list[Node]
    updates: list[tuple[Node, Node]]


def _match(graph: Graph, norm: Node) -> _Match | None:
    consumers = graph.consumers(norm.name)
    if all(node.op == "mean" for node in consumers):
        return None  # a head's
    if graph.is_output(norm.name):
        raise MatchFailure(norm, "the normalised map is an output")
    convs = [node for node in consumers if node.op == "conv"]
    for conv in convs:
        if conv.weights["kernel"].shape[2:] != (1, 1) or conv.integer("padding") or "bias" not in conv.weights:
            raise MatchFailure(norm, f"{conv.name} is not an unpadded 1x1 convolution with a bias")
    return _Match(norm, convs, list(_updates(graph, norm)))


def _updates(graph: Graph, norm: Node) -> Iterator[tuple[Node, Node]]:
    for flat in graph.consumers(norm.name):
        for update in graph.consumers(flat.name) if flat.op == "flatten" else ():
            projection = graph.sole_consumer(update.name)
            if update.op != "state_update" or projection is None or projection.op != "pointwise_conv":
                raise MatchFailure(norm, f"{update.name} does not write states for a projection alone")
            yield update, projection


def _replace(graph: Graph, match: _Match) -> None:
    norm = match.norm
    (x,) = norm.inputs
    deviation = f"{norm.name}.rstd"
    tokens = f"{deviation}.tokens"
    for conv in match.convs:
        _scale_conv(graph, conv, x, deviation)
    for update, projection in match.updates:
        _scale_tokens(graph, update, projection, tokens)
    graph.substitute(norm, *_deviation(norm, deviation), Node(op="flatten", inputs=(deviation,), outputs=(tokens,)))
    graph.reconnect(norm.name, x)


def _deviation(norm: Node, name: str) -> list[Node]:
    """1 / sqrt(variance + eps) of each token, (B, 1, H, W)."""
    (x,) = norm.inputs
    mean, square, power, offset, variance = (
        f"{norm.name}.{word}" for word in ("mean", "square", "power", "offset", "variance")
    )
    return [
        Node(op="mean_channels", inputs=(x,), outputs=(mean,)),
        Node(op="multiply", inputs=(x, x), outputs=(square,)),
        Node(op="mean_channels", inputs=(square,), outputs=(power,)),
        Node(op="multiply", inputs=(mean, mean), outputs=(offset,)),
        Node(op="subtract", inputs=(power, offset), outputs=(variance,)),
        Node(op="power", inputs=(variance,), outputs=(name,), attributes={"eps": norm.eps(), "exponent": -0.5}),
    ]


def _centred(kernel: Array) -> Array:
    return kernel - kernel.mean(axis=1, keepdims=True)


def _scale_conv(graph: Graph, conv: Node, x: str, deviation: str) -> None:
    raw, scaled = f"{conv.name}.raw", f"{conv.name}.scaled"
    graph.substitute(
        conv,
        replace(conv, inputs=(x,), outputs=(raw,), weights={"kernel": _centred(conv.weights["kernel"])}),
        Node(op="multiply", inputs=(raw, deviation), outputs=(scaled,)),
        Node(op="shift", inputs=(scaled,), outputs=(conv.name,), weights={"bias": conv.weights["bias"]}),
    )


def _scale_tokens(graph: Graph, update: Node, projection: Node, deviation: str) -> None:
    graph.substitute(projection, projection.with_weights(kernel=_centred(projection.weights["kernel"])))
    map_, weights = update.inputs
    scaled, uncentred = f"{update.name}.weights", f"{update.name}.raw"
    graph.substitute(
        update,
        Node(op="multiply", inputs=(weights, deviation), outputs=(scaled,)),
        replace(update, inputs=(map_, scaled), outputs=(uncentred,)),
    )
    graph.reconnect(update.name, uncentred)


SCALE_BY_DEVIATION = Rewrite(
    "LayerNorm's mean into the projections, its deviation behind them", "layer_norm", _match, _replace
)
