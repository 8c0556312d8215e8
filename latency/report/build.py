"""The view of results files that all formats of reports are written from."""

from __future__ import annotations

from collections.abc import Sequence

from latency.decision import Validity
from latency.paper import MACHINES
from latency.report import breakdowns, conditions, paper_tables, precisions
from latency.report.answers import answer
from latency.report.clusters import Cluster, clusters
from latency.report.columns import TABLE, CellFunction, figure, table_of, text
from latency.report.entries import ReportEntry, collect
from latency.report.evidence import NO_EVIDENCE, Evidence
from latency.report.growth import growth_table, lines
from latency.report.ratios import forests
from latency.report.samples import samples_of
from latency.report.view import Answer, Column, LatencyReport, Plot, Section, Table
from latency.results import Results

_SHOWN = (
    *("model", "machine", "engine", "mode", "precision", "resolution", "threads", "batch"),
    *("time_ms", "ratio", "verdict", "status", "p90_ms", "images_per_s"),
    *("paper_ms", "times_paper", "paper_top1_percent"),
)
_COLD_START = (
    *("model", "machine", "engine", "mode", "precision", "resolution"),
    *("cold_load_ms", "cold_first_ms", "time_ms"),
)
_MEMORY = (
    *("model", "machine", "engine", "precision", "resolution", "batch"),
    *("peak_bytes", "peak_above_before_bytes", "memory_of", "paper_peak_bytes"),
)


_READING = (
    "A ratio is computed from rounds that were timed next to each other, with its 95 % confidence interval in brackets."
    " It decides something only if both figures are valid and the whole interval lies beyond the noise, the largest "
    "deviation from 1 in the interval of the control, a second process of the same case. A time is the median of its "
    "samples, under the protocols paper and modelbench a mean, and belongs to the machine that it names. Accuracy is "
    "the paper's, on ImageNet-1k, and is not measured here."
)


def build(files: Sequence[Results], baseline: str | None = None, evidence: Evidence = NO_EVIDENCE) -> LatencyReport:
    """Build the view of results files.

    Ratios exist only within the groups of a file: cases from two machines share a table, but have no ratio.

    Args:
        files: The results files.
        baseline: Name of the baseline (:func:`latency.judgement.baseline_names`); None for each group's first case.
        evidence: Manifests and accuracies of artifacts.

    Raises:
        BadInput: No case has the baseline's name.
    """
    entries = collect(files, baseline)
    tables = clusters(entries)
    anchors = {id(cluster): f"setting-{number}" for number, cluster in enumerate(tables, 1)}
    machines = dict.fromkeys(results.host.machine for results in files)
    return LatencyReport(
        title="Latency of EfficientViM",
        subtitle=f"{', '.join(machines)}; {', '.join(dict.fromkeys(f'{each.created:%Y-%m-%d}' for each in files))}",
        warnings=tuple(_warnings(files, entries)),
        answers=tuple(Answer(cluster.title, anchors[id(cluster)], answer(cluster)) for cluster in tables),
        reading=_READING,
        sections=(
            *(_setting(cluster, anchors[id(cluster)]) for cluster in tables),
            *precisions.section(evidence, entries),
            *paper_tables.sections(entries),
            *breakdowns.sections(entries),
            *_resources(entries),
            conditions.section(files),
        ),
        samples=samples_of(files, entries),
        figures=precisions.add_evidence(_figures(files, entries), evidence, entries),
    )


def _warnings(files: Sequence[Results], entries: Sequence[ReportEntry]) -> list[str]:
    warnings = [
        f"Incomplete: {results.incomplete_because or 'the run ended early'}. All measurements until then are shown. "
        f"({results.host.machine}, {results.created:%Y-%m-%d %H:%M})"
        for results in files
        if not results.complete
    ]
    statuses = [entry.judgement.status for entry in entries if entry.measured]
    doubtful = ", ".join(
        f"{statuses.count(status)} {status}" for status in (Validity.SUSPECT, Validity.INVALID) if status in statuses
    )
    if doubtful:
        valid = f"Of {len(statuses)} figures {statuses.count(Validity.VALID)} are valid"
        warnings.append(f"{valid}, {doubtful}: the notes below the tables give the reasons.")
    measured = [entry for entry in entries if entry.measured]
    names = dict.fromkeys(entry.case.subject.name for entry in measured if entry.untrained)
    if names:
        who = "all timed models" if all(entry.untrained for entry in measured) else ", ".join(names)
        warnings.append(f"Untrained weights: {who}. Suitable for latency; their predictions are meaningless.")
    return warnings


def _setting(cluster: Cluster, anchor: str) -> Section:
    tables = [table_of(cluster.entries, _shown(cluster), cluster.caption())]
    plots: list[Plot] = []
    if cluster.axis and (plot := lines(cluster)) is not None:
        plots.append(plot)
    if cluster.axis == "resolution" and (table := growth_table(cluster)) is not None:
        tables.append(table)
    plots += forests(cluster)
    return Section(
        anchor=anchor, title=cluster.title, words=_explanation(cluster), tables=tuple(tables), plots=tuple(plots)
    )


def _shown(cluster: Cluster) -> list[str]:
    """The columns of a table, without those that the caption states for all rows."""
    same = {"machine", "engine", "mode", "precision", "resolution", "threads", "batch"} - set(cluster.varying())
    return [key for key in _SHOWN if key not in same]


def _explanation(cluster: Cluster) -> tuple[str, ...]:
    if not any(entry.paper_milliseconds for entry in cluster.entries):
        return ()
    return (f"The paper's times were measured on {MACHINES[cluster.setting]}.",)


def _resources(entries: Sequence[ReportEntry]) -> list[Section]:
    sections = []
    started = [entry for entry in entries if entry.case.cold_start]
    if started:
        words = (
            "From loaded libraries to the first output, in a new process; an app loads the model in a running process. "
            "No other figure includes it.",
        )
        table = table_of(started, _COLD_START, "Milliseconds; the last column is the time of an image once warm")
        sections.append(Section(anchor="cold-start", title="Cold start", words=words, tables=(table,)))
    with_memory = [entry for entry in entries if entry.case.memory]
    if with_memory:
        words = ("Peak memory while predicting, with libraries.",)
        table = table_of(with_memory, _MEMORY, "By case, in the batch that was timed")
        sections.append(Section(anchor="memory", title="Peak memory", words=words, tables=(table,)))
    return sections


def _figures(files: Sequence[Results], entries: Sequence[ReportEntry]) -> Table:
    """A table of all cases with all figures, whatever the sections omit."""
    extra: tuple[tuple[Column, CellFunction], ...] = (
        (Column("setting", "setting", numeric=False), lambda e, _: text(e.case.setting)),
        (Column("device", "device", numeric=False), lambda e, _: text(e.case.device)),
        (Column("batch_asked", "batch asked"), lambda e, _: figure(e.case.batch_asked)),
        (Column("outcome", "outcome", numeric=False), lambda e, _: text(e.case.outcome)),
        (Column("reasons", "reasons", numeric=False), lambda e, _: text("; ".join(e.judgement.reasons))),
        (Column("noise", "noise"), lambda e, _: figure(e.comparison.noise if e.comparison else None)),
        (
            Column("undecided_because", "undecided because", numeric=False),
            lambda e, _: text(e.comparison.decision.reason if e.comparison else None),
        ),
        (
            Column("baseline", "baseline", numeric=False),
            lambda e, _: text(e.comparison.baseline.id if e.comparison else None),
        ),
        (Column("weights", "weights", numeric=False), lambda e, _: text(e.case.subject.weights)),
        (Column("group", "group", numeric=False), lambda e, _: text(e.case.group)),
        (Column("id", "id", numeric=False), lambda e, _: text(e.case.id)),
        (Column("host", "host", numeric=False), lambda e, _: text(e.host.machine)),
        (Column("created", "created", numeric=False), lambda e, _: text(files[e.file].created.isoformat())),
        (Column("complete", "complete", numeric=False), lambda e, _: text("yes" if files[e.file].complete else "no")),
    )
    return table_of(entries, TABLE, "Every case", extra)
