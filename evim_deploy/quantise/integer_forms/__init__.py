"""A network in the operations that LiteRT computes in 8 bits: exact rewrites, before the grids are found."""

from __future__ import annotations

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites.rewrite import run
from evim_deploy.quantise.integer_forms.channel_norm import SCALE_BY_DEVIATION
from evim_deploy.quantise.integer_forms.gate import SPELL_SILU
from evim_deploy.quantise.integer_forms.heads import FLOAT_HEADS
from evim_deploy.quantise.integer_forms.image import FLOAT_PIXELS
from evim_deploy.quantise.integer_forms.token_softmax import DIVIDE_LATER

INTEGER_FORM = (
    FLOAT_PIXELS,
    FLOAT_HEADS,  # first: what it copies stays as it is
    SCALE_BY_DEVIATION,
    DIVIDE_LATER,
    SPELL_SILU,
)


def integer_form(graph: Graph) -> Graph:
    """The graph in these operations; the one given stays as it is."""
    graph = graph.copy()
    for rewrite in INTEGER_FORM:
        run(rewrite, graph)
    return graph
