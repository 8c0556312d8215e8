"""Subtract the mean of the pixels in floating point: in codes of 8 bits it would be rounded twice more."""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _apply(graph: Graph, shift: Node) -> bool:
    if shift.is_floating or shift.inputs != (graph.input_name,):
        return False
    graph.substitute(shift, replace(shift, attributes={**shift.attributes, "floating": True}))
    return True


FLOAT_PIXELS = Rewrite("mean of the pixels in floating point", "shift", _apply)
