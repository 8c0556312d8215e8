"""Keep the mixer's weights of very many tokens where float16 is exact.

A softmax over L tokens gives weights of about 1/L: from 16384 tokens on, those of a 2048x2048 image at stride 16,
they are below float16's smallest normal number, 2^-14, and lose bits or count as zero. With p these weights and t
the power of two next to sqrt(L), in the mixer's terms (paper, Equation 10),

    u (p * B)^T  =  [u (t p * B)^T] / t,        sum (p * B)  =  [sum (t p * B)] / t.

t p is about 1/sqrt(L) where the tokens are alike, and at most sqrt(L) where one of them has it all; a power of two
rounds nothing.

::

    before:  dt ── softmax_tokens ── multiply B ─┬─ write
                                                 └─ sum_tokens
    after:   dt ── softmax_tokens, times t ── multiply B ─┬─ write, times 1/t
                                                          └─ sum_tokens, times 1/t
"""

from __future__ import annotations

from dataclasses import replace
from math import log2

from evim_deploy.graph import Graph, Node
from evim_deploy.reparam.rewrite import Refused, Rewrite
from evim_deploy.shapes import infer_shapes

MANY_TOKENS = 16384


def spread_token_weights(height: int, width: int) -> Rewrite:
    """The rewrite of a graph for images of a size, pixels."""

    def apply(graph: Graph, softmax: Node) -> bool:
        tokens = infer_shapes(graph, (1, 3, height, width))[softmax.name][2]
        if not isinstance(tokens, int) or tokens < MANY_TOKENS:
            return False
        weighted = graph.only_user(softmax.name)
        sums = graph.users(weighted.name) if weighted is not None and weighted.op == "multiply" else []
        if not sums or not all(node.op in ("write", "sum_tokens") for node in sums):
            raise Refused("its weights are not only summed over the tokens")
        if any(node.op == "write" and node.inputs[0] in weighted.outputs for node in sums):
            raise Refused("its weights are what is summed")
        times = 2.0 ** round(log2(tokens) / 2)
        for node, factor in ((softmax, times), *((node, 1 / times) for node in sums)):
            graph.substitute(node, replace(node, attributes={**node.attributes, "times": factor}))
        return True

    return Rewrite("mixer's weights of very many tokens kept in float16's range", "softmax_tokens", apply)
