"""Factor the mixer's gate.

    g * silu(z) + d g  =  g * (silu(z) + d), with d one learned scalar (paper, Equation 11 and Algorithm 1).

::

    before:  z ── silu ── multiply g ─┬─ add ── y      after:  z ── silu ── shift d ── multiply g ── y
             g ── scale d ────────────┘
"""

from __future__ import annotations

from typing import NamedTuple

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


class _Match(NamedTuple):
    product: Node
    scale: Node
    add: Node


def _match(graph: Graph, add: Node) -> _Match | None:
    producers = [graph.producer(value) for value in add.inputs]
    for product, scale in (producers, producers[::-1]):
        if product is None or scale is None or product.op != "multiply" or scale.op != "scale":
            continue
        if scale.inputs[0] not in product.inputs:
            raise MatchFailure(add, "the scaled value is not a factor of the product")
        if graph.sole_consumer(product.name) is None or graph.sole_consumer(scale.name) is None:
            raise MatchFailure(add, "the product or the scaled value is used elsewhere")
        return _Match(product, scale, add)
    return None


def _replace(graph: Graph, match: _Match) -> None:
    product, scale, add = match
    g = scale.inputs[0]
    (other,) = [value for value in product.inputs if value != g] or [g]
    shift = Node(
        op="shift",
        inputs=(other,),
        outputs=(f"{product.name}.shifted",),
        weights={"bias": scale.weights["scale"]},
    )
    graph.substitute(add, shift, Node(op="multiply", inputs=(g, shift.name), outputs=add.outputs))


FACTOR_GATE = Rewrite("gate and skip of the mixer into one product", "add", _match, _replace)
