"""Write the mixer's softmax out, and divide the product with B instead of the softmax weights.

With e = exp(dt - max dt), from 0 to 1, and S its sum over the tokens, one number for each state (paper, Equation 10):

    (e / S) * B  =  (e * B) / S

The largest e of every state is 1, so that one 8-bit scale fits all states; e / S of a state that attends to all
tokens is close to zero beside that of a state that attends to one token, and is rounded once more before the product.

::

    before:  dt ── softmax_tokens ── multiply B ── y    after:  dt ── exp ─┬─ multiply B ── multiply 1/S ── y
                                                                           └─ sum_tokens ── power -1 ─┘
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    softmax: Node
    weighted: Node


def _match(graph: Graph, softmax: Node) -> _Match:
    weighted = graph.sole_consumer(softmax.name)
    if weighted is None or weighted.op != "multiply":
        raise MatchFailure(softmax, "its weights are not multiplied, or used elsewhere, too")
    return _Match(softmax, weighted)


def _replace(graph: Graph, match: _Match) -> None:
    softmax, weighted = match
    (dt,) = softmax.inputs
    largest, below, exponential, total, share = (
        f"{softmax.name}.{word}" for word in ("max", "below", "exp", "sum", "share")
    )
    undivided = f"{weighted.name}.undivided"
    graph.substitute(
        softmax,
        Node(op="max_tokens", inputs=(dt,), outputs=(largest,)),
        Node(op="subtract", inputs=(dt, largest), outputs=(below,)),
        Node(op="exp", inputs=(below,), outputs=(exponential,)),
        Node(op="sum_tokens", inputs=(exponential,), outputs=(total,), attributes={"keep": True}),
        Node(op="power", inputs=(total,), outputs=(share,), attributes={"eps": 0.0, "exponent": -1.0}),
    )
    factors = tuple(exponential if value == softmax.name else value for value in weighted.inputs)
    graph.substitute(
        weighted,
        replace(weighted, inputs=factors, outputs=(undivided,)),
        Node(op="multiply", inputs=(undivided, share), outputs=(weighted.name,)),
    )


DIVIDE_LATER = Rewrite(
    "division of the softmax over tokens behind the product with B", "softmax_tokens", _match, _replace
)
