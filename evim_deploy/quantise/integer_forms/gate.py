"""Write silu as what it is, x * sigmoid(x): engines have a table for the sigmoid of 8 bits alone."""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _apply(graph: Graph, silu: Node) -> bool:
    if silu.is_floating:
        return False
    (x,) = silu.inputs
    sigmoid = f"{silu.name}.sigmoid"
    graph.substitute(
        silu,
        Node(op="sigmoid", inputs=(x,), outputs=(sigmoid,)),
        Node(op="multiply", inputs=(x, sigmoid), outputs=silu.outputs),
    )
    return True


SPELL_SILU = Rewrite("silu as a product with a sigmoid", "silu", _apply)
