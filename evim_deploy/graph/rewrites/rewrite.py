"""Exact rewrites: a rewrite matches a pattern at each operation of one kind, and replaces what it matches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.ops import validate

Match = TypeVar("Match")
"""The operations and numbers that a rewrite needs to replace one occurrence of its pattern."""


class MatchFailure(Exception):
    """The pattern is present, but the rewrite would not be exact there.

    Args:
        node: The root operation of the pattern.
        reason: The condition that does not hold.
    """

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(f"{node.name}: {reason}")
        self.node = node
        self.reason = reason


@dataclass(frozen=True)
class Rewrite(Generic[Match]):
    """One exact rewrite.

    Attributes:
        name: Its effect, in a few words.
        root_op: The op of the operations at which the pattern is matched.
        match: The match at a root operation; None if the pattern is absent. Raises :class:`MatchFailure` if the
            pattern is present and the algebra would not hold. Leaves the graph unchanged.
        replace: Changes the graph at a match.
    """

    name: str
    root_op: str
    match: Callable[[Graph, Node], Match | None]
    replace: Callable[[Graph, Match], None]


@dataclass(frozen=True, kw_only=True)
class RewriteResult:
    """The effect of a rewrite on a graph.

    Attributes:
        rewrite: Name of the rewrite.
        applied: Number of replacements.
        removed: Number of operations removed, by op.
        added: Number of operations added, by op.
        refused: Name of each root operation with a match failure, and the reason.
    """

    rewrite: str
    applied: int
    removed: Counter[str]
    added: Counter[str]
    refused: tuple[tuple[str, str], ...]


def run(rewrite: Rewrite[Any], graph: Graph) -> RewriteResult:
    """Replace all matches of a rewrite in a graph, which changes."""
    before = graph.counts()
    applied, refused = 0, []
    for name in [node.name for node in graph.nodes if node.op == rewrite.root_op]:
        node = graph.producer(name)
        if node is None or node.op != rewrite.root_op:
            continue  # an earlier replacement removed it
        try:
            match = rewrite.match(graph, node)
        except MatchFailure as failure:
            refused.append((failure.node.name, failure.reason))
            continue
        if match is not None:
            rewrite.replace(graph, match)
            graph.prune()
            applied += 1
    validate(graph)
    after = graph.counts()
    return RewriteResult(
        rewrite=rewrite.name, applied=applied, removed=before - after, added=after - before, refused=tuple(refused)
    )
