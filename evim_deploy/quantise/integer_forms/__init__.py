"""A network in the operations that LiteRT computes in 8 bits: exact rewrites, applied before calibration.

Owns one rewrite a file; imports the graph alone.
"""

from __future__ import annotations

from typing import Any

from evim_deploy.graph.ir import Graph
from evim_deploy.graph.rewrites.rewrite import Rewrite, run
from evim_deploy.quantise.integer_forms.channel_norm import SCALE_BY_DEVIATION
from evim_deploy.quantise.integer_forms.gate import SPELL_SILU
from evim_deploy.quantise.integer_forms.heads import FLOAT_HEADS
from evim_deploy.quantise.integer_forms.image import FLOAT_PIXELS
from evim_deploy.quantise.integer_forms.token_softmax import DIVIDE_LATER

INTEGER_FORM: tuple[Rewrite[Any], ...] = (
    FLOAT_PIXELS,
    FLOAT_HEADS,  # before the others, which leave its copies in floating point unchanged
    SCALE_BY_DEVIATION,
    DIVIDE_LATER,
    SPELL_SILU,
)


def integer_form(graph: Graph) -> Graph:
    """The graph in these operations; the argument stays unchanged."""
    graph = graph.copy()
    for rewrite in INTEGER_FORM:
        run(rewrite, graph)
    return graph
