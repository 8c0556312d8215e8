"""Write the mixer's LayerNorm so that no map but x itself is computed.

With m and v the mean and the variance of a token's D channels, r = 1 / sqrt(v + eps) and K~ the kernel K with the mean
over its input channels subtracted,

    K ((x - m) r)        =  (K~ x) r                              since K m = (K's mean) (sum of x)
    W ((x - m) r w^T)    =  W~ (x (r w)^T)

So the projections take x, which has a grid of its own already, and r, one number a token, goes into what they give and
into the weights of the tokens. Of v = mean(x^2) - mean(x)^2 both are means over channels, summed in 32 bits.

::

    before:  x ── layer_norm ─┬─ conv ── y                        after:  x ── conv~ ── multiply r ── shift ── y
                              └─ flatten ── write ── project              x ── flatten ── write ── project~
                                            w ─┘                          w ── multiply r ─┘
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import Array
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, norm: Node) -> bool:
    users = graph.consumers(norm.name)
    if all(user.op == "mean" for user in users):
        return False  # a head's
    (x,) = norm.inputs
    if graph.is_output(norm.name):
        raise MatchFailure("the normalised map is an output")
    convs = [user for user in users if user.op == "conv"]
    flattened = [user for user in users if user.op == "flatten"]
    writes = [write for flat in flattened for write in graph.consumers(flat.name)]
    _check(graph, norm, convs, writes)

    deviation = f"{norm.name}.rstd"
    tokens = f"{deviation}.tokens"
    for conv in convs:
        _scale_conv(graph, conv, x, deviation)
    for write in writes:
        _scale_tokens(graph, write, tokens)
    graph.substitute(norm, *_deviation(norm, deviation), Node(op="flatten", inputs=(deviation,), outputs=(tokens,)))
    graph.reconnect(norm.name, x)
    return True


def _check(graph: Graph, norm: Node, convs: list[Node], writes: list[Node]) -> None:
    for conv in convs:
        if conv.weights["kernel"].shape[2:] != (1, 1) or conv.integer("padding") or "bias" not in conv.weights:
            raise MatchFailure(f"{conv.name} is not an unpadded 1x1 convolution with a bias")
    for write in writes:
        project = graph.sole_consumer(write.name)
        if write.op != "state_update" or project is None or project.op != "pointwise_conv":
            raise MatchFailure(f"{write.name} does not write states for a projection alone")


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


def _scale_tokens(graph: Graph, write: Node, deviation: str) -> None:
    (project,) = graph.consumers(write.name)
    graph.substitute(project, project.with_weights(kernel=_centred(project.weights["kernel"])))
    map_, weights = write.inputs
    scaled = f"{write.name}.weights"
    uncentred = f"{write.name}.raw"
    graph.substitute(
        write,
        Node(op="multiply", inputs=(weights, deviation), outputs=(scaled,)),
        replace(write, inputs=(map_, scaled), outputs=(uncentred,)),
    )
    graph.reconnect(write.name, uncentred)


SCALE_BY_DEVIATION = Rewrite("LayerNorm's mean into the projections, its deviation behind them", "layer_norm", _apply)
