"""Keep the mixer's weights over very many tokens where float16 is exact.

A softmax over L tokens gives weights of about 1/L: from 16384 tokens on, those of a 2048x2048 image at stride 16,
they are below float16's smallest normal number, 2^-14, and lose bits or count as zero. With p these weights and t
the power of two next to sqrt(L), in the mixer's terms (paper, Equation 10),

    u (p * B)^T  =  [u (t p * B)^T] / t,        sum (p * B)  =  [sum (t p * B)] / t.

t p is about 1/sqrt(L) where the tokens are alike, and at most sqrt(L) where one of them has it all; a power of two
rounds nothing. What t is, the operations see by their tokens (:func:`evim_deploy.graph.ir.spread`).

::

    before:  dt ── softmax_tokens ── multiply B ─┬─ write
                                                 └─ sum_tokens
    after:   dt ── softmax_tokens, times t ── multiply B ─┬─ write, divided by t
                                                          └─ sum_tokens, divided by t
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, softmax: Node) -> bool:
    if "spread" in softmax.attributes:
        return False
    weighted = graph.sole_consumer(softmax.name)
    if weighted is None or weighted.op != "multiply":
        raise MatchFailure("its weights are not multiplied, or used elsewhere, too")
    sums = graph.consumers(weighted.name)
    if graph.is_output(weighted.name) or not all(_sums(node, weighted.name) for node in sums):
        raise MatchFailure(f"{weighted.name} is not only summed over the tokens")
    for node in (softmax, *sums):
        graph.substitute(node, replace(node, attributes={**node.attributes, "spread": True}))
    return True


def _sums(node: Node, weighted: str) -> bool:
    """Once alone: a square would be divided by t once too seldom."""
    return node.op in ("state_update", "sum_tokens") and node.inputs.count(weighted) == 1


SPREAD_TOKEN_WEIGHTS = Rewrite("mixer's weights over many tokens in float16's range", "softmax_tokens", _apply)
