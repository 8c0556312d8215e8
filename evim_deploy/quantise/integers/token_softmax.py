"""Write the mixer's softmax so that its weights are divided by their sum where they are few: on the states.

With e = exp(dt - max dt), from 0 to 1, and S its sum over the tokens, one number a state (paper, Equation 10):

    u (e / S * B)^T  =  [u (e * B)^T] / S,        sum (e / S * B)  =  [sum (e * B)] / S.

The largest e of every state is 1, so 8 bits fit all states alike; the weights e / S of one that looks at all tokens
would vanish beside those of one that looks at a single token.

::

    before:  dt ── softmax_tokens ── multiply B ─┬─ write         after:  dt ── exp ─┬─ multiply B ─┬─ write ── multiply 1/S
                                                 └─ sum_tokens                       │              └─ sum_tokens ── ...
                                                                                     └─ sum_tokens ── power -1
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph import Graph, Node
from evim_deploy.reparam.rewrite import Refused, Rewrite


def _apply(graph: Graph, softmax: Node) -> bool:
    weighted = graph.only_user(softmax.name)
    if weighted is None or weighted.op != "multiply":
        raise Refused("its weights are not multiplied, or used elsewhere, too")
    sums = [_sum(graph, user) for user in graph.users(weighted.name)]
    if graph.is_output(weighted.name) or not all(node.op in ("write", "sum_tokens") for node in sums):
        raise Refused(f"{weighted.name} is not only summed over the tokens")
    (dt,) = softmax.inputs
    largest, below, exponential, total, share = (
        f"{softmax.name}.{word}" for word in ("max", "below", "exp", "sum", "share")
    )
    for node in sums:
        undivided = f"{node.name}.undivided"
        graph.substitute(
            node, replace(node, outputs=(undivided,)), Node("multiply", (undivided, share), (node.name,))
        )
    graph.substitute(
        softmax,
        Node("max_tokens", (dt,), (largest,)),
        Node("subtract", (dt, largest), (below,)),
        Node("exp", (below,), (exponential,)),
        Node("sum_tokens", (exponential,), (total,)),
        Node("power", (total,), (share,), attributes={"eps": 0.0, "exponent": -1.0}),
    )
    graph.reconnect(softmax.name, exponential)
    return True


def _sum(graph: Graph, user: Node) -> Node:
    """What sums the weights: an operation that takes them, or takes their products with a number for each token."""
    behind = graph.only_user(user.name) if user.op == "multiply" else None
    return behind if behind is not None and behind.inputs[1:] == (user.name,) else user


DIVIDE_STATES = Rewrite("division of the softmax over tokens moved to the states", "softmax_tokens", _apply)
