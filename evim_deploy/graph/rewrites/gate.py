"""Factor the mixer's gate.

    g * silu(z) + d g  =  g * (silu(z) + d), d one learned scalar (paper, Equation 11 and Algorithm 1).

::

    before:  z ── silu ── multiply g ─┬─ add ── y      after:  z ── silu ── shift d ── multiply g ── y
             g ── scale d ────────────┘
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import MatchFailure, Rewrite


def _apply(graph: Graph, add: Node) -> bool:
    producers = [graph.producer(value) for value in add.inputs]
    for product, scale in (producers, producers[::-1]):
        if product is None or scale is None or product.op != "multiply" or scale.op != "scale":
            continue
        g = scale.inputs[0]
        if g not in product.inputs:
            raise MatchFailure("the scaled value is not a factor of the product")
        if graph.sole_consumer(product.name) is None or graph.sole_consumer(scale.name) is None:
            raise MatchFailure("the product or the scaled value is used elsewhere")
        (other,) = [value for value in product.inputs if value != g] or [g]
        shift = Node(
            op="shift",
            inputs=(other,),
            outputs=(f"{product.name}.shifted",),
            weights={"bias": scale.weights["scale"]},
        )
        graph.substitute(add, shift, Node(op="multiply", inputs=(g, shift.name), outputs=add.outputs))
        return True
    return False


FACTOR_GATE = Rewrite("gate and skip of the mixer into one product", "add", _apply)
