"""Forest plots of ratios with their intervals, one for each group."""

from __future__ import annotations

from latency.report import formatting
from latency.report.clusters import Cluster
from latency.report.entries import ReportEntry
from latency.report.view import Forest
from latency.settings import format_threads

_MIN_RATIOS = 2
"""Minimum number of ratios in a plot; a single one is a sentence in the report."""


def forests(cluster: Cluster) -> list[Forest]:
    """The plots of a cluster's groups with at least two ratios; a sweep has a single plot."""
    groups = [[entry for group in cluster.groups for entry in group]] if cluster.axis else cluster.groups
    return [plot for group in groups if (plot := _forest(cluster, group)) is not None]


def _forest(cluster: Cluster, group: list[ReportEntry]) -> Forest | None:
    rows = []
    for entry in group:
        comparison = entry.comparison
        if comparison is None or comparison.interval is None or not entry.usable:
            continue
        interval = comparison.interval
        ratio = (interval.low, interval.estimate, interval.high)
        rows.append((_label(cluster, entry), *ratio, comparison.noise, comparison.verdict))
    if len(rows) < _MIN_RATIOS:
        return None
    compared = [entry.comparison for entry in group if entry.comparison]
    names = formatting.listed(dict.fromkeys(cluster.label(comparison.baseline) for comparison in compared))
    caption = f"Time relative to {names}, with 95 % intervals; left of 1 takes less time. Shaded: the noise."
    return Forest(caption, names, tuple(rows))


def _label(cluster: Cluster, entry: ReportEntry) -> str:
    c = entry.case
    position = {
        "resolution": formatting.size(c.height, c.width),
        "batch": f"batch {c.batch_asked}",
        "threads": format_threads(c.threads),
    }
    return ", ".join(filter(None, (cluster.label(entry.case), position.get(cluster.axis, ""))))
