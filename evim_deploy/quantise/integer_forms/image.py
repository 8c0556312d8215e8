"""Subtract the mean of the pixels in floating point: in 8 bits it would be rounded twice more.

::

    before:  image ── shift ── y        after:  image ── shift, in floating point ── y
"""

from __future__ import annotations

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _match(graph: Graph, shift: Node) -> Node | None:
    return shift if shift.inputs == (graph.input_name,) and not shift.is_floating else None


def _replace(graph: Graph, shift: Node) -> None:
    graph.substitute(shift, shift.with_attributes(floating=True))


FLOAT_PIXELS = Rewrite("mean of the pixels in floating point", "shift", _match, _replace)
