"""Compute the heads in floating point, from the states on.

A head's LayerNorm brings all states to a like size, whatever theirs was, and with untrained weights the variance of one
state is a hundred thousand times that of another: with one 8-bit scale most would be noise. The states are few (N of D
channels), so the gate and out_proj are computed twice in a stage's last block: in integers for the map, in floating
point for the head. A classifier's last map is converted to floating point likewise.

::

    before:  hz ── split ── gate ── pointwise_conv ─┬─ state_readout
                                                    └─ head
    after:   hz ─┬─ split ── gate ── pointwise_conv ── state_readout
                 └─ split ── gate ── pointwise_conv ── head
"""

from __future__ import annotations

from dataclasses import replace

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.rewrites.rewrite import Rewrite


def _match(graph: Graph, norm: Node) -> Node | None:
    is_head = all(node.op == "mean" for node in graph.consumers(norm.name))
    return norm if is_head and not norm.is_floating else None


def _replace(graph: Graph, norm: Node) -> None:
    (x,) = norm.inputs
    copied = _copied(graph, x)
    renamed = {output: f"{norm.name}.of.{output}" for node in copied for output in node.outputs}
    copies = [
        replace(_floating(node, renamed), outputs=tuple(renamed[output] for output in node.outputs)) for node in copied
    ]
    graph.substitute(norm, *copies, _floating(norm, renamed))
    _follow(graph, norm.name)


def _copied(graph: Graph, value: str) -> list[Node]:
    """The operations that compute states, back to the split of hz; for a map none."""
    producer = graph.producer(value)
    if producer is None or producer.op != "pointwise_conv":
        return []
    copied: dict[str, Node] = {}

    def visit(name: str) -> None:
        node = graph.producer(name)
        if node is not None and node.name not in copied:
            if node.op != "split":
                for each in node.inputs:
                    visit(each)
            copied[node.name] = node

    visit(value)
    return list(copied.values())


def _floating(node: Node, renamed: dict[str, str]) -> Node:
    inputs = tuple(renamed.get(value, value) for value in node.inputs)
    return replace(node.with_attributes(floating=True), inputs=inputs)


def _follow(graph: Graph, value: str) -> None:
    """Mark everything that a head computes, to the output, as floating point."""
    for node in graph.consumers(value):
        if not node.is_floating:
            graph.substitute(node, _floating(node, {}))
            _follow(graph, node.name)


FLOAT_HEADS = Rewrite("heads in floating point, from the states on", "layer_norm", _match, _replace)
