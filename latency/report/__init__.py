"""What is said of results files: one view of them, which HTML, Markdown and CSV are written from."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from evim_deploy.common.errors import BadInput
from evim_deploy.common.publish import publish, refuse_overwrite, staging
from latency.judgement import INVALID, SUSPECT, VALID
from latency.paper import MACHINES
from latency.report import beside_paper, breakdowns, conditions, precisions
from latency.report.answers import answer
from latency.report.clusters import Cluster, clusters
from latency.report.columns import TABLE, figure, table_of, text
from latency.report.entries import Entry, collect
from latency.report.evidence import NONE, Evidence
from latency.report.growth import growth_table, lines
from latency.report.ratios import forests
from latency.report.samples import samples_of
from latency.report.view import Answer, Column, Plot, Report, Section, Table
from latency.results import Results

WRITERS = {
    ".html": "latency.report.html",
    ".md": "latency.report.markdown",
    ".csv": "latency.report.csv",
}
"""Each has ``write(report) -> str``."""

_SHOWN = (
    *("model", "machine", "engine", "mode", "precision", "resolution", "threads", "batch"),
    *("time_ms", "ratio", "verdict", "status", "p90_ms", "images_per_s"),
    *("paper_ms", "times_paper", "paper_top1_percent"),
)
_FIRST_TIME = (
    *("model", "machine", "engine", "mode", "precision", "resolution"),
    *("cold_load_ms", "cold_first_ms", "time_ms"),
)
_MEMORY = (
    *("model", "machine", "engine", "precision", "resolution", "batch"),
    *("peak_bytes", "peak_above_before_bytes", "memory_of", "paper_peak_bytes"),
)


_READING = (
    "A ratio is of rounds that were taken next to each other, in brackets the interval that holds it in 95 of 100 "
    "runs. It decides something only if both figures are valid and the whole interval lies beyond the noise, which is "
    "as far from 1 as the interval of the control reaches, a second process of the same thing. A time is the median "
    "of its samples, under the protocols paper and modelbench a mean, and of the machine that it names. Accuracy is "
    "the paper's, on ImageNet-1k, and is not measured here."
)


def build(files: Sequence[Results], baseline: str | None = None, evidence: Evidence = NONE) -> Report:
    """The view of one results file or several.

    Ratios are taken within the groups of a file alone: what was timed on two machines stands in one table, but is
    never divided.

    Args:
        baseline: What the others are held against (:func:`latency.judgement.names`); without one, each group's first.
        evidence: What is known of artifacts besides.

    Raises:
        BadInput: There is none of that name.
    """
    entries = collect(files, baseline)
    found = clusters(entries)
    anchors = {id(cluster): f"setting-{number}" for number, cluster in enumerate(found, 1)}
    machines = dict.fromkeys(results.host.machine for results in files)
    return Report(
        "Latency of EfficientViM",
        f"{', '.join(machines)}; {', '.join(dict.fromkeys(f'{results.created:%Y-%m-%d}' for results in files))}",
        tuple(_warnings(files, entries)),
        tuple(Answer(cluster.title, anchors[id(cluster)], answer(cluster)) for cluster in found),
        _READING,
        (
            *(_setting(cluster, anchors[id(cluster)]) for cluster in found),
            *precisions.section(evidence, entries),
            *beside_paper.sections(entries),
            *breakdowns.sections(entries),
            *_resources(entries),
            conditions.section(files),
        ),
        samples_of(files, entries),
        precisions.beside(_figures(files, entries), evidence, entries),
    )


def render(files: Sequence[Results], suffix: str, baseline: str | None = None, evidence: Evidence = NONE) -> str:
    """The text of a report.

    Args:
        suffix: ``.html``, ``.md`` or ``.csv``.

    Raises:
        BadInput: It is another suffix, or there is none of the baseline's name.
        NotInstalled: The HTML needs jinja2 and matplotlib.
    """
    if suffix not in WRITERS:
        raise BadInput(
            f"A report is not written as {suffix or 'a file without a suffix'}.", "End it in .html, .md or .csv."
        )
    written: str = importlib.import_module(WRITERS[suffix]).write(build(files, baseline, evidence))
    return written


def write_report(
    files: Sequence[Results],
    path: Path,
    baseline: str | None = None,
    evidence: Evidence = NONE,
    overwrite: bool = False,
) -> Path:
    """Write a report in the format of the path's suffix, whole or not at all.

    Raises:
        BadInput: As :func:`render`; or the path is taken and overwriting was not asked for, or cannot be written.
        NotInstalled: As :func:`render`.
    """
    refuse_overwrite([path], overwrite)
    content = render(files, path.suffix.lower(), baseline, evidence)
    with staging(path.parent) as folder:
        staged = folder / path.name
        staged.write_text(content, "utf-8", newline="")
        (final,) = publish([staged], path.parent, overwrite)
    return final


def _warnings(files: Sequence[Results], entries: Sequence[Entry]) -> list[str]:
    found = [
        f"Incomplete: {results.incomplete_because or 'the run ended early'}. What is here was measured all the same. "
        f"({results.host.machine}, {results.created:%Y-%m-%d %H:%M})"
        for results in files
        if not results.complete
    ]
    statuses = [entry.judgement.status for entry in entries if entry.measured]
    bent = ", ".join(f"{statuses.count(status)} {status}" for status in (SUSPECT, INVALID) if status in statuses)
    if bent:
        valid = f"Of {len(statuses)} figures {statuses.count(VALID)} are valid"
        found.append(f"{valid}, {bent}: the notes below the tables say why.")
    measured = [entry for entry in entries if entry.measured]
    names = dict.fromkeys(entry.contender.subject.name for entry in measured if entry.untrained)
    if names:
        who = "all that was timed" if all(entry.untrained for entry in measured) else ", ".join(names)
        found.append(f"Untrained weights: {who}. Good for latency; their answers mean nothing.")
    return found


def _setting(cluster: Cluster, anchor: str) -> Section:
    tables = [table_of(cluster.entries, _shown(cluster), cluster.caption())]
    plots: list[Plot] = []
    if cluster.axis and (picture := lines(cluster)) is not None:
        plots.append(picture)
    if cluster.axis == "resolution" and (grown := growth_table(cluster)) is not None:
        tables.append(grown)
    plots += forests(cluster)
    return Section(anchor, cluster.title, _explained(cluster), tuple(tables), tuple(plots))


def _shown(cluster: Cluster) -> list[str]:
    """Without the columns that say the same of all: the caption does."""
    same = {"machine", "engine", "mode", "precision", "resolution", "threads", "batch"} - set(cluster.varying())
    return [key for key in _SHOWN if key not in same]


def _explained(cluster: Cluster) -> tuple[str, ...]:
    if not any(entry.paper_milliseconds for entry in cluster.entries):
        return ()
    return (f"The paper's times were taken on {MACHINES[cluster.place]}.",)


def _resources(entries: Sequence[Entry]) -> list[Section]:
    found = []
    started = [entry for entry in entries if entry.contender.cold_start]
    if started:
        words = (
            "From libraries loaded to the first answer, in a fresh process; an app loads in the one that runs. None of "
            "it is in any other figure.",
        )
        table = table_of(started, _FIRST_TIME, "Milliseconds; the last column is of one image, once warm")
        found.append(Section("cold-start", "Cold start", words, (table,)))
    held = [entry for entry in entries if entry.contender.memory]
    if held:
        words = ("The most that was held while predicting, libraries and all.",)
        found.append(
            Section(
                "memory", "Peak memory", words, (table_of(held, _MEMORY, "By contender, in the batch that was timed"),)
            )
        )
    return found


def _figures(files: Sequence[Results], entries: Sequence[Entry]) -> Table:
    """Every contender with every figure, whatever the sections leave out."""
    extra = (
        (Column("setting", "setting", numeric=False), lambda e, _: text(e.contender.setting)),
        (Column("device", "device", numeric=False), lambda e, _: text(e.contender.device)),
        (Column("batch_asked", "batch asked"), lambda e, _: figure(e.contender.batch_asked)),
        (Column("outcome", "outcome", numeric=False), lambda e, _: text(e.contender.outcome)),
        (Column("reasons", "reasons", numeric=False), lambda e, _: text("; ".join(e.judgement.reasons))),
        (Column("noise", "noise"), lambda e, _: figure(e.comparison and e.comparison.noise)),
        (
            Column("undecided_because", "undecided because", numeric=False),
            lambda e, _: text(e.comparison and e.comparison.decision.reason),
        ),
        (Column("baseline", "baseline", numeric=False), lambda e, _: text(e.comparison and e.comparison.baseline.id)),
        (Column("weights", "weights", numeric=False), lambda e, _: text(e.contender.subject.weights)),
        (Column("group", "group", numeric=False), lambda e, _: text(e.contender.group)),
        (Column("id", "id", numeric=False), lambda e, _: text(e.contender.id)),
        (Column("host", "host", numeric=False), lambda e, _: text(e.host.machine)),
        (Column("created", "created", numeric=False), lambda e, _: text(files[e.file].created.isoformat())),
        (Column("complete", "complete", numeric=False), lambda e, _: text("yes" if files[e.file].complete else "no")),
    )
    return table_of(entries, TABLE, "Every contender", extra)
