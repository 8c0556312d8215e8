"""Write the mixer's softmax out, and divide what it weights instead of the weights.

With e = exp(dt - max dt), from 0 to 1, and S its sum over the tokens, one number a state (paper, Equation 10):

    (e / S) * B  =  (e * B) / S

The largest e of every state is 1, so that 8 bits fit all states alike; e / S is next to nothing for a state that looks
at all tokens, beside one that looks at a single one, and is rounded once more before B comes in.

::

    before:  dt ── softmax_tokens ── multiply B ── y    after:  dt ── exp ─┬─ multiply B ── multiply 1/S ── y
                                                                           └─ sum_tokens ── power -1 ─┘
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, softmax: Node) -> bool:
    weighted = graph.sole_consumer(softmax.name)
    if weighted is None or weighted.op != "multiply":
        raise MatchFailure("its weights are not multiplied, or used elsewhere, too")
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
    graph.reconnect(softmax.name, exponential)
    (weighted,) = (user for user in graph.consumers(exponential) if user.op == "multiply")
    graph.substitute(
        weighted,
        replace(weighted, outputs=(undivided,)),
        Node(op="multiply", inputs=(undivided, share), outputs=(weighted.name,)),
    )
    return True


DIVIDE_LATER = Rewrite("division of the softmax over tokens behind the product with B", "softmax_tokens", _apply)
