"""Keep the heads in floating point, from the states on.

A head's LayerNorm makes all states alike in size, whatever theirs was, and of untrained weights the variance of one is
a hundred thousand times that of another: on one grid of 8 bits most would be noise. They are few (N of D channels), so
the gate and out_proj are computed twice in a stage's last block: on grids for the map, in floating point for the head.
A classifier's last map goes over to floating point likewise.

::

    before:  hz ── split ── gate ── project ─┬─ read        after:  hz ─┬─ split ── gate ── project ── read
                                             └─ head                    └─ split ── gate ── project ── head
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph import Graph, Node
from evim_deploy.reparam.rewrite import Rewrite

FLOATING = ".float"
"""Ends the name of a value that is computed twice, the second time in floating point."""


def _apply(graph: Graph, norm: Node) -> bool:
    if norm.is_floating or not all(user.op == "mean" for user in graph.users(norm.name)):
        return False
    (x,) = norm.inputs
    graph.substitute(norm, *_copies(graph, x), _floating(norm, {x: f"{x}{FLOATING}"} if _states(graph, x) else {}))
    _follow(graph, norm.name)
    return True


def _states(graph: Graph, value: str) -> bool:
    producer = graph.producer(value)
    return producer is not None and producer.op == "project"


def _copies(graph: Graph, states: str) -> list[Node]:
    """Copies of the operations that give the states, back to the split of hz."""
    copied: dict[str, Node] = {}

    def visit(value: str) -> None:
        node = graph.producer(value)
        if node is None or node.name in copied:
            return
        if node.op != "split":
            for each in node.inputs:
                visit(each)
        copied[node.name] = node

    if _states(graph, states):
        visit(states)
    renamed = {output: f"{output}{FLOATING}" for node in copied.values() for output in node.outputs}
    return [
        replace(_floating(node, renamed), outputs=tuple(renamed[output] for output in node.outputs))
        for node in copied.values()
    ]


def _floating(node: Node, renamed: dict[str, str]) -> Node:
    inputs = tuple(renamed.get(value, value) for value in node.inputs)
    return replace(node, inputs=inputs, attributes={**node.attributes, "floating": True})


def _follow(graph: Graph, value: str) -> None:
    """Everything that a head computes stays in floating point, to the answer."""
    for user in graph.users(value):
        if not user.is_floating:
            graph.substitute(user, _floating(user, {}))
            _follow(graph, user.name)


FLOAT_HEADS = Rewrite("heads in floating point, from the states on", "layer_norm", _apply)
