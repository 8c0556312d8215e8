"""How a rewrite is tried on a graph, and what it says it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from evim_deploy.graph.ir import Graph, Node


class MatchFailure(Exception):
    """A place looks like the rewrite's pattern and does not fit it; the message says why."""


@dataclass(frozen=True)
class Rewrite:
    """One exact rewrite.

    Attributes:
        name: What it does, in a few words.
        anchor: The kind of operation at which it is tried.
        apply: Changes the graph at an anchor. Returns False where the anchor is not the pattern's,
            and raises :class:`MatchFailure` where it is but the algebra would not hold.
    """

    name: str
    anchor: str
    apply: Callable[[Graph, Node], bool]


@dataclass(frozen=True, kw_only=True)
class RewriteResult:
    """What a rewrite did to a graph.

    Attributes:
        rewrite: Its name.
        applied: In how many places it was applied.
        removed: Operations removed, by kind.
        added: Operations added, by kind.
        refused: Name of each operation where it was refused, and the reason.
    """

    rewrite: str
    applied: int
    removed: Counter[str]
    added: Counter[str]
    refused: tuple[tuple[str, str], ...]


def run(rewrite: Rewrite, graph: Graph) -> RewriteResult:
    """Try a rewrite at each of its anchors, changing the graph."""
    before = graph.counts()
    applied, refused = 0, []
    for name in [node.name for node in graph.nodes if node.op == rewrite.anchor]:
        node = graph.producer(name)
        if node is None or node.op != rewrite.anchor:
            continue  # an application at another anchor took it away
        try:
            if rewrite.apply(graph, node):
                applied += 1
                graph.prune()
        except MatchFailure as refusal:
            refused.append((name, str(refusal)))
    graph.validate()
    after = graph.counts()
    return RewriteResult(
        rewrite=rewrite.name, applied=applied, removed=before - after, added=after - before, refused=tuple(refused)
    )
