"""Match the operations of a file with the values of a graph by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import cast

from evim_deploy.artifact.trace import TracedOperation
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.shapes import Shape

_OPTIONAL = ("flatten", "unflatten", "mean", "sum_tokens")
"""Operations that a converter may drop where they only rename axes, as a mean over one element does."""


@dataclass(frozen=True, kw_only=True)
class MatchedOp:
    """An operation of the graph whose output the file computes too.

    Attributes:
        node: The operation.
        nodes: The operations from the nearest values in the file to this output, in order, ``node`` last: those before
            it were fused with it.
        named: The ones of ``nodes`` that the file names, whose weights its operations hold.
        inputs: Names of these nearest values.
        operations: Indices of the file's operations; the last computes the output, the others are steps before it.
    """

    node: Node
    nodes: tuple[Node, ...]
    named: tuple[Node, ...]
    inputs: tuple[str, ...]
    operations: tuple[int, ...]


@dataclass
class NamedValue:
    """A value of the graph that a file has under its name.

    Attributes:
        operations: Indices of the file's operations; the last computes the value, the others are steps before it.
        named: Names of the graph's operations that the file names there: the value's own, and those fused with it.
    """

    operations: list[int] = field(default_factory=list)
    named: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Alignment:
    """The matched operations of a file and a graph.

    Attributes:
        matched: By the name of the graph's operation, in the graph's order.
        image: Index of the file's operation that gives the image to the others, if there is such an operation.
        unmatched: Names of the graph's operations without a counterpart in the file.
    """

    matched: Mapping[str, MatchedOp]
    image: int | None
    unmatched: tuple[str, ...]


def align(graph: Graph, operations: Sequence[TracedOperation], shapes: Mapping[str, Shape]) -> Alignment:
    """Match a file's operations with a graph's.

    Args:
        graph: The graph.
        operations: The file's operations in execution order.
        shapes: The shapes of the graph's values.
    """
    values = values_in_file(graph, operations)
    image = values.pop(graph.input_name, None)
    nodes = [node for node in graph.nodes if node.name in values]
    available = {graph.input_name, *(output for node in nodes for output in node.outputs)}
    matched = {}
    for node in nodes:
        cone, inputs = _cone(graph, node, available)
        matched[node.name] = MatchedOp(
            node=node,
            nodes=cone,
            named=tuple(each for each in cone if each.name in values[node.name].named),
            inputs=inputs,
            operations=tuple(values[node.name].operations),
        )
    unmatched = _unmatched(graph, matched.values(), shapes)
    return Alignment(matched, image.operations[-1] if image else None, unmatched)


def values_in_file(graph: Graph, operations: Sequence[TracedOperation]) -> dict[str, NamedValue]:
    """The values of a graph, its input included, that a file has, by name.

    Names are compared without punctuation, because formats forbid some characters. An output has its own name or that
    of its value.
    """
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    names_of_values = {**{name: name for name in (graph.input_name, *order)}, **graph.outputs}
    known = {_plain(name): value for name, value in names_of_values.items()}
    values: dict[str, NamedValue] = {}
    for index, operation in enumerate(operations):
        names = {known[_plain(name)] for name in operation.names if _plain(name) in known}
        if names:
            last = max(names, key=lambda name: order.get(name, -1))  # the last of fused operations gives the value
            value = values.setdefault(last, NamedValue())
            value.operations.append(index)
            value.named |= names
    for last, value in list(values.items()):
        for name in value.named - {last}:
            steps = values.pop(name, NamedValue())  # a fused operation only contributes steps
            value.operations[:0] = steps.operations
            value.named |= steps.named
    return values


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _cone(graph: Graph, node: Node, available: set[str]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """The operations from the nearest available values to a node, in order, and the names of these values."""
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


def _unmatched(graph: Graph, matched: Iterable[MatchedOp], shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    def is_renaming(node: Node) -> bool:
        before, after = (prod(cast("tuple[int, ...]", shapes[name])) for name in (node.inputs[0], node.name))
        return node.op in _OPTIONAL and before == after

    covered = {node.name for op in matched for node in op.nodes if node in op.named or is_renaming(node)}
    return tuple(node.name for node in graph.nodes if node.name not in covered)
