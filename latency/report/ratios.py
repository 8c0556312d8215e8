"""Ratios with their intervals, as pictures: one for each group that was timed together."""

from __future__ import annotations

from latency.report import words
from latency.report.clusters import Cluster
from latency.report.entries import Entry
from latency.report.view import Forest
from latency.settings import thread_words

_ENOUGH = 2
"""Ratios that a picture is worth: one is a sentence."""


def forests(cluster: Cluster) -> list[Forest]:
    """The groups of a cluster that have two ratios or more; in a sweep all of them in one picture."""
    groups = [[entry for group in cluster.groups for entry in group]] if cluster.axis else cluster.groups
    return [found for group in groups if (found := _forest(cluster, group)) is not None]


def _forest(cluster: Cluster, group: list[Entry]) -> Forest | None:
    rows = []
    for entry in group:
        comparison = entry.comparison
        if comparison is None or comparison.interval is None or not entry.sound:
            continue
        found = comparison.interval
        label = _label(cluster, entry)
        rows.append((label, found.low, found.estimate, found.high, comparison.noise, comparison.verdict))
    if len(rows) < _ENOUGH:
        return None
    compared = [entry.comparison for entry in group if entry.comparison]
    names = words.listed(dict.fromkeys(cluster.label(comparison.baseline) for comparison in compared))
    caption = f"Times the time of {names}, with 95 % intervals; left of 1 takes less time. Shaded: the noise."
    return Forest(caption, names, tuple(rows))


def _label(cluster: Cluster, entry: Entry) -> str:
    c = entry.contender
    at = {
        "resolution": words.size(c.height, c.width),
        "batch": f"batch {c.batch_asked}",
        "threads": thread_words(c.threads),
    }
    return ", ".join(filter(None, (cluster.label(entry.contender), at.get(cluster.axis, ""))))
