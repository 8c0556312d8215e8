"""Which operations of a file compute which value of the graph, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import cast

from evim_deploy.artifact.trace import TracedOperation
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.shapes import Shape

_DROPPED = ("flatten", "unflatten", "mean", "sum_tokens")
"""What a converter may leave out where it only renames axes, as a mean over one element does."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A value of the graph that the file computes too.

    Attributes:
        node: The operation of the graph whose outputs these are.
        nodes: What has to be evaluated to get them from the nearest values that the file has: in order,
            ``node`` last, with the operations that were fused with it before.
        named: Those of ``nodes`` that the file names there, whose weights its operations hold.
        inputs: These nearest values.
        operations: Indices in the file; the last gives the values, those before are steps on the way.
    """

    node: Node
    nodes: tuple[Node, ...]
    named: tuple[Node, ...]
    inputs: tuple[str, ...]
    operations: tuple[int, ...]


@dataclass
class Computed:
    """A value of the graph under its name in a file.

    Attributes:
        operations: Indices in the file; the last gives the value, those before are steps on the way.
        named: The graph's operations that the file names there: the value's own, and those fused with it.
    """

    operations: list[int] = field(default_factory=list)
    named: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Alignment:
    """A file's operations beside a graph's.

    Attributes:
        rows: By the name of the graph's operation, in the graph's order.
        image: The operation that gives the image as the others take it, where the file has one.
        unmatched: Names of the graph's operations that nothing in the file corresponds to.
    """

    rows: Mapping[str, Row]
    image: int | None
    unmatched: tuple[str, ...]


def align(graph: Graph, operations: Sequence[TracedOperation], shapes: Mapping[str, Shape]) -> Alignment:
    """Line up a file's operations with a graph's.

    Args:
        graph: The graph.
        operations: Of the file, in the order of their computation.
        shapes: Of the graph's values.
    """
    found = computed(graph, operations)
    image = found.pop(graph.input_name, None)
    nodes = [node for node in graph.nodes if node.name in found]
    available = {graph.input_name, *(output for node in nodes for output in node.outputs)}
    rows = {}
    for node in nodes:
        cone, inputs = _cone(graph, node, available)
        rows[node.name] = Row(
            node=node,
            nodes=cone,
            named=tuple(each for each in cone if each.name in found[node.name].named),
            inputs=inputs,
            operations=tuple(found[node.name].operations),
        )
    return Alignment(rows, image.operations[-1] if image else None, _unmatched(graph, rows.values(), shapes))


def computed(graph: Graph, operations: Sequence[TracedOperation]) -> dict[str, Computed]:
    """The values of a graph, its input among them, that a file has, by their names.

    Names are compared without regard to what stands between words, as formats forbid some marks. An
    output goes by its own name or that of its value.
    """
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    values = {**{name: name for name in (graph.input_name, *order)}, **graph.outputs}
    known = {_plain(name): value for name, value in values.items()}
    found: dict[str, Computed] = {}
    for index, operation in enumerate(operations):
        names = {known[_plain(name)] for name in operation.names if _plain(name) in known}
        if names:
            last = max(names, key=lambda name: order.get(name, -1))  # of fused ones the last gives the value
            value = found.setdefault(last, Computed())
            value.operations.append(index)
            value.named |= names
    for last, value in list(found.items()):
        for name in value.named - {last}:
            steps = found.pop(name, Computed())  # of a fused operation there are steps alone
            value.operations[:0] = steps.operations
            value.named |= steps.named
    return found


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _cone(graph: Graph, node: Node, available: set[str]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """The operations from the nearest available values to a node, in order, and these values."""
    cone: dict[str, Node] = {}
    inputs: dict[str, None] = {}

    def visit(each: Node) -> None:
        for value in each.inputs:
            producer = graph.producer(value)
            if value in available or producer is None:
                inputs[value] = None
            elif producer.name not in cone:
                visit(producer)
        cone[each.name] = each

    visit(node)
    return tuple(cone.values()), tuple(inputs)


def _unmatched(graph: Graph, rows: Iterable[Row], shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    def is_renaming(node: Node) -> bool:
        before, after = (prod(cast("tuple[int, ...]", shapes[name])) for name in (node.inputs[0], node.name))
        return node.op in _DROPPED and before == after

    covered = {node.name for row in rows for node in row.nodes if node in row.named or is_renaming(node)}
    return tuple(node.name for node in graph.nodes if node.name not in covered)
