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

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _apply(graph: Graph, norm: Node) -> bool:
    if norm.is_floating or not all(user.op == "mean" for user in graph.consumers(norm.name)):
        return False
    (x,) = norm.inputs
    copied = _copied(graph, x)
    renamed = {output: f"{norm.name}.of.{output}" for node in copied for output in node.outputs}
    copies = [
        replace(_floating(node, renamed), outputs=tuple(renamed[output] for output in node.outputs)) for node in copied
    ]
    graph.substitute(norm, *copies, _floating(norm, renamed))
    _follow(graph, norm.name)
    return True


def _copied(graph: Graph, value: str) -> list[Node]:
    """The operations that give states, back to the split of hz; none of a map."""
    producer = graph.producer(value)
    if producer is None or producer.op != "pointwise_conv":
        return []
    found: dict[str, Node] = {}

    def visit(name: str) -> None:
        node = graph.producer(name)
        if node is not None and node.name not in found:
            if node.op != "split":
                for each in node.inputs:
                    visit(each)
            found[node.name] = node

    visit(value)
    return list(found.values())


def _floating(node: Node, renamed: dict[str, str]) -> Node:
    inputs = tuple(renamed.get(value, value) for value in node.inputs)
    return replace(node, inputs=inputs, attributes={**node.attributes, "floating": True})


def _follow(graph: Graph, value: str) -> None:
    """Everything that a head computes stays in floating point, to the answer."""
    for user in graph.consumers(value):
        if not user.is_floating:
            graph.substitute(user, _floating(user, {}))
            _follow(graph, user.name)


FLOAT_HEADS = Rewrite("heads in floating point, from the states on", "layer_norm", _apply)
