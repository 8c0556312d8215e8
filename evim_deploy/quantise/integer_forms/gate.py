"""Write silu as a product: engines have an 8-bit table for the sigmoid alone.

    silu(x)  =  x * sigmoid(x)

::

    before:  x ── silu ── y        after:  x ─┬─ sigmoid ── multiply ── y
                                              └────────────────┘
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _match(graph: Graph, silu: Node) -> Node | None:
    return None if silu.is_floating else silu


def _replace(graph: Graph, silu: Node) -> None:
    (x,) = silu.inputs
    sigmoid = f"{silu.name}.sigmoid"
    graph.substitute(
        silu,
        Node(op="sigmoid", inputs=(x,), outputs=(sigmoid,)),
        Node(op="multiply", inputs=(x, sigmoid), outputs=silu.outputs),
    )


SPELL_SILU = Rewrite("silu as a product with a sigmoid", "silu", _match, _replace)
