"""The conclusions of a table in sentences: the baseline's time, and which cases are faster or slower."""

from __future__ import annotations

from collections.abc import Iterator

from latency.decision import Verdict
from latency.enums import Outcome
from latency.paper import MACHINES
from latency.report import formatting
from latency.report.clusters import AXES, Cluster
from latency.report.columns import quotient
from latency.report.entries import ReportEntry
from latency.report.growth import exponents
from latency.settings import format_threads

_BEGINNINGS = {Verdict.FASTER: "Faster", Verdict.SLOWER: "Slower", Verdict.UNDECIDED: "Decides nothing"}
_MAX_NAMED = 8
_CONDITIONS = {"resolution": "At {}", "batch": "With batches of {}", "threads": "With {}"}


def answer(cluster: Cluster) -> tuple[str, ...]:
    """Write the sentences, the most important one first."""
    measured = [group for group in cluster.groups if any(entry.measured for entry in group)]
    if not measured:
        reasons = dict.fromkeys(entry.case.reason or entry.case.outcome for entry in cluster.entries)
        outcomes = dict.fromkeys(entry.case.outcome for entry in cluster.entries)
        return (formatting.sentence(f"{formatting.listed(outcomes)}: {'; '.join(reasons)}"),)
    sentences: list[str] = []
    for group in [_last_compared(measured)] if cluster.axis else measured:
        sentences += _group_sentences(cluster, group)
    if cluster.axis == "resolution":
        sentences += _growth(cluster)
    return (*sentences, *_out_of_memory(cluster))


def _last_compared(measured: list[list[ReportEntry]]) -> list[ReportEntry]:
    """The last group of a sweep with a comparison, or the last group."""
    compared = [group for group in measured if any(entry.comparison for entry in group)]
    return (compared or measured)[-1]


def _group_sentences(cluster: Cluster, group: list[ReportEntry]) -> Iterator[str]:
    tried = [entry for entry in group if entry.measured]
    usable = [entry for entry in tried if entry.usable]
    if not usable:
        yield from _invalid(cluster, tried)
        return
    for first in [entry for entry in usable if entry.is_baseline] or usable[:1]:
        yield _time(cluster, first)
        yield from _comparisons(cluster, first, usable)
    yield from _invalid(cluster, [entry for entry in tried if not entry.usable])


def _invalid(cluster: Cluster, entries: list[ReportEntry]) -> Iterator[str]:
    for entry in entries:
        yield f"Invalid: {cluster.label(entry.case)}; {', '.join(entry.judgement.reasons)}."


def _comparisons(cluster: Cluster, first: ReportEntry, others: list[ReportEntry]) -> Iterator[str]:
    """The cases that are faster and slower than a baseline, the fastest first."""
    compared = [e for e in others if e.comparison is not None and e.comparison.baseline.id == first.case.id]
    by_beginning: dict[str, list[ReportEntry]] = {beginning: [] for beginning in _BEGINNINGS.values()}
    for entry in sorted(compared, key=_estimate):
        by_beginning.setdefault(_beginning(entry), []).append(entry)
    for beginning, entries in by_beginning.items():
        ratios = [_ratio(cluster, entry, first) for entry in entries]
        if len(ratios) > _MAX_NAMED:
            ratios[_MAX_NAMED:] = [f"and {len(ratios) - _MAX_NAMED} more"]
        if ratios:
            yield formatting.sentence(f"{beginning}: {', '.join(ratios)}")


def _beginning(entry: ReportEntry) -> str:
    """The beginning of the sentence that lists an entry."""
    assert entry.comparison is not None
    decision = entry.comparison.decision
    because = f", because {decision.reason}" if decision.doubtful else ""
    return f"{_BEGINNINGS[decision.verdict]}{because}"


def _estimate(entry: ReportEntry) -> float:
    return entry.comparison.interval.estimate if entry.comparison and entry.comparison.interval else 0.0


def _ratio(cluster: Cluster, entry: ReportEntry, first: ReportEntry) -> str:
    """A ratio with its interval, and the reasons why its own figure is not valid."""
    interval = entry.comparison.interval if entry.comparison else None
    doubts = "; ".join(reason for reason in entry.judgement.reasons if reason not in first.judgement.reasons)
    ratio = f"{cluster.label(entry.case)} {formatting.interval(interval) if interval else '(too few rounds)'}"
    return f"{ratio} ({doubts})" if doubts else ratio


def _time(cluster: Cluster, entry: ReportEntry) -> str:
    assert entry.milliseconds is not None
    condition = ""
    if cluster.axis:
        c = entry.case
        values = dict(
            zip(AXES, (formatting.size(c.height, c.width), str(c.batch_asked), format_threads(c.threads)), strict=True)
        )
        condition = _CONDITIONS[cluster.axis].format(values[cluster.axis]) + " "
    batch = f" in batches of {entry.case.batch}" if entry.case.batch != entry.case.batch_asked else ""
    duration = f"{formatting.duration(entry.milliseconds)} an image{batch}"
    sentence = f"{condition}{cluster.label(entry.case)} takes {duration} on {entry.machine}"
    if not entry.valid:
        return f"Suspect: {sentence}; {', '.join(entry.judgement.reasons)}."
    times = quotient(entry)
    if times is not None and entry.case.setting:
        paper = f"the paper's {entry.paper_milliseconds} ms on {MACHINES[entry.case.setting]}"
        sentence += f", {formatting.number(times)} times {paper}"
    return f"{sentence}."  # not capitalised, since a name begins it


def _growth(cluster: Cluster) -> Iterator[str]:
    growths = exponents(cluster)
    valid = [f"{formatting.number(growth.exponent)} ({label})" for label, growth in growths.items() if growth.valid]
    if valid:
        yield formatting.sentence(f"The time grows as the number of pixels to the power of {formatting.listed(valid)}")
    doubtful = [label for label, growth in growths.items() if not growth.valid]
    if doubtful:
        yield f"No growth of the time is reported for {formatting.listed(doubtful)}: some figures are suspect."


def _out_of_memory(cluster: Cluster) -> Iterator[str]:
    failed = [entry for entry in cluster.entries if entry.case.outcome == Outcome.OUT_OF_MEMORY]
    if failed:
        cases = (f"{cluster.label(e.case)} at {formatting.size(e.case.height, e.case.width)}" for e in failed)
        yield formatting.sentence(f"Out of memory: {formatting.listed(cases)}")
