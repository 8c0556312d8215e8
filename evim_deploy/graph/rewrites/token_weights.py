"""Keep the mixer's weights over very many tokens in the range where float16 is exact.

A softmax over L tokens gives weights of about 1/L. From 16384 tokens on, those of a 2048x2048 image at stride 16,
they are below float16's smallest normal number, 2^-14, and lose bits or become zero. With p these weights and t
the power of two nearest to sqrt(L), in the mixer's terms (paper, Equation 10),

    u (p * B)^T  =  [u (t p * B)^T] / t,        sum (p * B)  =  [sum (t p * B)] / t.

t p is about 1/sqrt(L) where the tokens are alike, and at most sqrt(L) where one token has all the weight; a power of
two rounds nothing. The operations compute t from their number of tokens (:func:`evim_deploy.graph.ir.spread`).

::

    before:  dt ── softmax_tokens ── multiply B ─┬─ state_update
                                                 └─ sum_tokens
    after:   dt ── softmax_tokens, times t ── multiply B ─┬─ state_update, divided by t
                                                          └─ sum_tokens, divided by t
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _match(graph: Graph, softmax: Node) -> tuple[Node, ...] | None:
    """The softmax and the sums of its products."""
    if "spread" in softmax.attributes:
        return None
    weighted = graph.sole_consumer(softmax.name)
    if weighted is None or weighted.op != "multiply":
        raise MatchFailure(softmax, "its weights are not multiplied, or used elsewhere, too")
    sums = graph.consumers(weighted.name)
    if graph.is_output(weighted.name) or not all(_sums(node, weighted.name) for node in sums):
        raise MatchFailure(softmax, f"{weighted.name} is not only summed over the tokens")
    return softmax, *sums


def _sums(node: Node, weighted: str) -> bool:
    """Whether an operation sums the weighted values, and not their square, of which t^2 would be a factor."""
    return node.op in ("state_update", "sum_tokens") and node.inputs.count(weighted) == 1


def _replace(graph: Graph, match: tuple[Node, ...]) -> None:
    for node in match:
        graph.substitute(node, node.with_attributes(spread=True))


SPREAD_TOKEN_WEIGHTS = Rewrite(
    "mixer's weights over many tokens in float16's range", "softmax_tokens", _match, _replace
)
