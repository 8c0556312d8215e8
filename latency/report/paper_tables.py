"""Own figures beside the paper's for each model: Table E in each setting, and Table 3."""

from __future__ import annotations

from collections.abc import Sequence

from latency.paper import MACHINES, Table3Row, table_3_row, table_e, table_e_row
from latency.report import formatting
from latency.report.columns import NOTHING, TABLE, figure, paper_figure, rate, text
from latency.report.entries import ReportEntry
from latency.report.view import Cell, Column, Notes, Row, Scatter, Section, Table, select_columns, without_empty
from latency.settings import format_threads

_MIN_MODELS = 3
_OWN_FACTS = ("machine", "engine", "mode", "precision")
"""Columns of Table E that are left out if all own figures have the same value."""

_SETTINGS = {"cpu": "CPU", "gpu": "GPU", "iphone": "iPhone"}


def sections(entries: Sequence[ReportEntry]) -> list[Section]:
    """Table E and Table 3 from own runs, each only with own figures."""
    return [section for section in (_section_e(entries), _section_3(entries)) if section is not None]


def _section_e(entries: Sequence[ReportEntry]) -> Section | None:
    tables = [table for setting in _SETTINGS if (table := _table_e(entries, setting)) is not None]
    if not tables:
        return None
    explained = (
        "The paper's figures are means on its machine; ours are medians on ours, under the protocols paper and "
        "modelbench means. The column 'ours / paper's' is their ratio: if it is similar for all models, the paper's "
        "ranking holds here. Accuracy is that of Table E, EfficientViM-M4's after 450 epochs.",
    )
    return Section(anchor="table-e", title="Beside the paper's Table E", words=explained, tables=tuple(tables))


def _table_e(entries: Sequence[ReportEntry], setting: str) -> Table | None:
    ours = [e for e in entries if e.case.setting == setting and e.usable and e.paper_milliseconds is not None]
    if not any(table_e_row(entry.case.subject.paper) for entry in ours):
        return None
    notes, rows = Notes(), []
    for row in table_e():
        own = [entry for entry in ours if entry.case.subject.paper == row.method]
        milliseconds = {"cpu": row.cpu_ms, "gpu": row.gpu_ms, "iphone": row.iphone_ms}[setting]
        paper = paper_figure(milliseconds)
        top1 = Cell(f"{row.top1:.1f}", row.top1)
        if not own:
            rows.append(
                Row(
                    (text(row.method), *[NOTHING] * (len(_OWN_FACTS) + 1), paper, NOTHING, top1, text("not timed")),
                    sign="missing",
                )
            )
        for entry in own:
            facts = (TABLE[key][1](entry, notes) for key in _OWN_FACTS)
            time, ratio = figure(entry.milliseconds, entry), figure((entry.milliseconds or 0) / milliseconds, entry)
            status = TABLE["status"][1](entry, notes)
            rows.append(Row((text(row.method), *facts, time, paper, ratio, top1, status)))
    caption = (
        f"{_SETTINGS[setting]}: ours on {formatting.listed(dict.fromkeys(e.machine for e in ours))}; the paper's on "
    )
    columns = (
        Column("model", "model", numeric=False),
        *(TABLE[key][0] for key in _OWN_FACTS),
        Column("ours_ms", "ours", "ms an image"),
        Column("paper_ms", "paper's", "ms an image", paper=True),
        TABLE["times_paper"][0],
        Column("paper_top1_percent", "paper's accuracy", "top-1 %", paper=True),
        TABLE["status"][0],
    )
    shown = [i for i, column in enumerate(columns) if column.key not in _OWN_FACTS or _varies(column.key, ours)]
    table = Table(caption + MACHINES[setting], columns, tuple(rows), notes.texts)
    return without_empty(select_columns(table, shown))


def _varies(key: str, entries: Sequence[ReportEntry]) -> bool:
    return len({TABLE[key][1](entry, Notes()).value for entry in entries}) > 1


def _section_3(entries: Sequence[ReportEntry]) -> Section | None:
    tables, plots = [], []
    for configuration, members in _comparable(entries).items():
        tables.append(_table_3(members, configuration))
        points = [(e.case.subject.name, rate(e) or 0, row.top1) for e in members if (row := _row_3(e))]
        caption = f"Speed against the paper's accuracy; up and to the right is better. On {configuration}."
        plots.append(Scatter(caption, "images per second, ours", "top-1 in percent, the paper's", tuple(points)))
    if not tables:
        return None
    explained = ("EfficientViM beside its peers by accuracy, which is the paper's and is not measured here.",)
    return Section(
        anchor="table-3",
        title="Beside the peers of the paper's Table 3",
        words=explained,
        tables=tuple(tables),
        plots=tuple(plots),
    )


def _comparable(entries: Sequence[ReportEntry]) -> dict[str, list[ReportEntry]]:
    """The cases at the resolution of their row in Table 3, by configuration; at least three models are required."""
    by_configuration: dict[str, list[ReportEntry]] = {}
    for entry in entries:
        c = entry.case
        if entry.usable and _row_3(entry):
            threads = format_threads(c.threads) if c.threads else ""
            facts = [entry.machine, c.engine, c.mode or "", c.precision, threads, f"batch {c.batch_asked}"]
            by_configuration.setdefault(", ".join(filter(None, facts)), []).append(entry)
    return {name: members for name, members in by_configuration.items() if len(members) >= _MIN_MODELS}


def _row_3(entry: ReportEntry) -> Table3Row | None:
    """The row of a case in Table 3, if it ran at that row's resolution."""
    c, row = entry.case, table_3_row(entry.case.subject.paper)
    return row if row and c.height == c.width == row.resolution else None


def _table_3(entries: Sequence[ReportEntry], configuration: str) -> Table:
    notes = Notes()
    own = ("images_per_s", "ratio", "verdict", "status")
    columns = (
        TABLE["model"][0],
        TABLE["paper_top1_percent"][0],
        Column("parameters_m", "weights", "millions", paper=True),
        Column("resolution", "pixels", numeric=False, paper=True),
        Column("paper_images_per_s", "paper's rate", "images/s", paper=True),
        *(TABLE[key][0] for key in own),
    )
    listed = sorted(((row, entry) for entry in entries if (row := _row_3(entry))), key=lambda pair: -pair[0].top1)
    rows = tuple(
        Row(
            (
                text(entry.case.subject.name),
                TABLE["paper_top1_percent"][1](entry, notes),
                paper_figure(row.parameters_m),
                text(formatting.size(row.resolution, row.resolution)),
                paper_figure(row.images_per_s),
                *(TABLE[key][1](entry, notes) for key in own),
            ),
            sign="baseline" if entry.is_baseline else "",
        )
        for row, entry in listed
    )
    return Table(f"Ours on {configuration}; the paper's rate on {MACHINES['gpu']}", columns, rows, notes.texts)
