"""What a table comes to, in sentences: the baseline's time, and who is faster than it; of suspect figures neither."""

from __future__ import annotations

from collections.abc import Iterator

from latency.judgement import FASTER, SLOWER, UNDECIDED
from latency.paper import MACHINES
from latency.report import words
from latency.report.clusters import AXES, Cluster
from latency.report.columns import quotient
from latency.report.entries import Entry
from latency.report.growth import exponents
from latency.settings import thread_words

_BEGINNINGS = {FASTER: "Faster", SLOWER: "Slower", UNDECIDED: "Decides nothing"}
_MOST_NAMED = 8
_AT = {"resolution": "At {}", "batch": "With batches of {}", "threads": "With {}"}


def answer(cluster: Cluster) -> tuple[str, ...]:
    """The sentences, the one that matters most first."""
    measured = [group for group in cluster.groups if any(entry.measured for entry in group)]
    if not measured:
        reasons = dict.fromkeys(entry.contender.reason or entry.contender.outcome for entry in cluster.entries)
        outcomes = dict.fromkeys(entry.contender.outcome for entry in cluster.entries)
        return (words.sentence(f"{words.listed(outcomes)}: {'; '.join(reasons)}"),)
    found: list[str] = []
    for group in [_telling(measured)] if cluster.axis else measured:
        found += _of_group(cluster, group)
    if cluster.axis == "resolution":
        found += _growth(cluster)
    return (*found, *_out_of_memory(cluster))


def _telling(measured: list[list[Entry]]) -> list[Entry]:
    """Of a sweep the last group in which there is something to compare."""
    compared = [group for group in measured if any(entry.comparison for entry in group)]
    return (compared or measured)[-1]


def _of_group(cluster: Cluster, group: list[Entry]) -> Iterator[str]:
    tried = [entry for entry in group if entry.measured]
    sound = [entry for entry in tried if entry.sound]
    if not sound:
        yield from _invalid(cluster, tried)
        return
    for first in [entry for entry in sound if entry.is_baseline] or sound[:1]:
        yield _time(cluster, first)
        yield from _beside(cluster, first, sound)
    yield from _invalid(cluster, [entry for entry in tried if not entry.sound])


def _invalid(cluster: Cluster, entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"Invalid: {cluster.label(entry.contender)}; {', '.join(entry.judgement.reasons)}."


def _beside(cluster: Cluster, first: Entry, others: list[Entry]) -> Iterator[str]:
    """Who is faster than a baseline and who slower, the fastest first."""
    held = [e for e in others if e.comparison is not None and e.comparison.baseline.id == first.contender.id]
    said: dict[str, list[Entry]] = {beginning: [] for beginning in _BEGINNINGS.values()}
    for entry in sorted(held, key=_estimate):
        said.setdefault(_beginning(entry), []).append(entry)
    for beginning, entries in said.items():
        ratios = [_ratio(cluster, entry, first) for entry in entries]
        if len(ratios) > _MOST_NAMED:
            ratios[_MOST_NAMED:] = [f"and {len(ratios) - _MOST_NAMED} more"]
        if ratios:
            yield words.sentence(f"{beginning}: {', '.join(ratios)}")


def _beginning(entry: Entry) -> str:
    """The beginning of the sentence that names an entry."""
    assert entry.comparison is not None
    decision = entry.comparison.decision
    because = f", because {decision.reason}" if decision.doubtful else ""
    return f"{_BEGINNINGS[decision.verdict]}{because}"


def _estimate(entry: Entry) -> float:
    return entry.comparison.interval.estimate if entry.comparison and entry.comparison.interval else 0.0


def _ratio(cluster: Cluster, entry: Entry, first: Entry) -> str:
    """A ratio with its interval, and what is doubtful of it alone."""
    found = entry.comparison.interval if entry.comparison else None
    own = "; ".join(reason for reason in entry.judgement.reasons if reason not in first.judgement.reasons)
    said = f"{cluster.label(entry.contender)} {words.interval(found) if found else '(too few rounds)'}"
    return f"{said} ({own})" if own else said


def _time(cluster: Cluster, entry: Entry) -> str:
    assert entry.milliseconds is not None
    where = ""
    if cluster.axis:
        c = entry.contender
        said = dict(
            zip(AXES, (words.size(c.height, c.width), str(c.batch_asked), thread_words(c.threads)), strict=True)
        )
        where = _AT[cluster.axis].format(said[cluster.axis]) + " "
    batch = f" in batches of {entry.contender.batch}" if entry.contender.batch != entry.contender.batch_asked else ""
    took = f"{words.duration(entry.milliseconds)} an image{batch}"
    told = f"{where}{cluster.label(entry.contender)} takes {took} on {entry.machine}"
    if not entry.valid:
        return f"Suspect: {told}; {', '.join(entry.judgement.reasons)}."
    times = quotient(entry)
    if times is not None and entry.contender.setting:
        paper = f"the paper's {entry.paper_milliseconds} ms on {MACHINES[entry.contender.setting]}"
        told += f", {words.number(times)} times {paper}"
    return f"{told}."  # a name keeps its case


def _growth(cluster: Cluster) -> Iterator[str]:
    grown = exponents(cluster)
    said = [f"{words.number(found.exponent)} ({label})" for label, found in grown.items() if found.valid]
    if said:
        yield words.sentence(f"The time grows as the number of pixels to the power of {words.listed(said)}")
    doubtful = [label for label, found in grown.items() if not found.valid]
    if doubtful:
        yield f"How the time grows is not told of {words.listed(doubtful)}: some figures are suspect."


def _out_of_memory(cluster: Cluster) -> Iterator[str]:
    lost = [entry for entry in cluster.entries if entry.contender.outcome == "out of memory"]
    if lost:
        said = (f"{cluster.label(e.contender)} at {words.size(e.contender.height, e.contender.width)}" for e in lost)
        yield words.sentence(f"Out of memory: {words.listed(said)}")
