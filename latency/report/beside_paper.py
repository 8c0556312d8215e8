"""Own figures beside the paper's, model by model: Table E in each setting, and Table 3."""

from __future__ import annotations

from collections.abc import Sequence

from latency.paper import MACHINES, Table3, of_table_3, of_table_e, table_e
from latency.report import words
from latency.report.columns import NOTHING, TABLE, figure, printed, rate, text
from latency.report.entries import Entry
from latency.report.view import Cell, Column, Notes, Row, Scatter, Section, Table, without_empty
from latency.settings import thread_words

_FIELD = 3
_OWN_FACTS = ("machine", "engine", "mode", "precision")
"""Columns of Table E in which own figures may differ; where they do not, they are left out."""

_SETTINGS = {"cpu": "CPU", "gpu": "GPU", "iphone": "iPhone"}


def sections(entries: Sequence[Entry]) -> list[Section]:
    """Table E and Table 3 from own runs; without an own figure in one, it is left out."""
    found = [_section_e(entries), _section_3(entries)]
    return [section for section in found if section is not None]


def _section_e(entries: Sequence[Entry]) -> Section | None:
    tables = [table for setting in _SETTINGS if (table := _table_e(entries, setting)) is not None]
    if not tables:
        return None
    explained = (
        "The paper's figures are means on its machine; ours are medians on ours, under the protocols paper and "
        "modelbench means. The last column is ours divided by the paper's: where it is the same for all models, the "
        "order of the paper holds here. Accuracy is as Table E prints it, EfficientViM-M4's of 450 epochs.",
    )
    return Section("table-e", "Beside the paper's Table E", explained, tuple(tables))


def _table_e(entries: Sequence[Entry], setting: str) -> Table | None:
    ours = [e for e in entries if e.contender.setting == setting and e.sound and e.paper_milliseconds is not None]
    if not any(of_table_e(entry.contender.subject.paper) for entry in ours):
        return None
    notes, rows = Notes(), []
    for row in table_e():
        own = [entry for entry in ours if entry.contender.subject.paper == row.method]
        milliseconds = {"cpu": row.cpu_ms, "gpu": row.gpu_ms, "iphone": row.iphone_ms}[setting]
        paper = printed(milliseconds)
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
            took, times = figure(entry.milliseconds, entry), figure((entry.milliseconds or 0) / milliseconds, entry)
            status = TABLE["status"][1](entry, notes)
            rows.append(Row((text(row.method), *facts, took, paper, times, top1, status)))
    caption = f"{_SETTINGS[setting]}: ours on {words.listed(dict.fromkeys(e.machine for e in ours))}; the paper's on "
    columns = (
        Column("model", "model", numeric=False),
        *(TABLE[key][0] for key in _OWN_FACTS),
        Column("ours_ms", "ours", "ms an image"),
        Column("paper_ms", "paper's", "ms an image", paper=True),
        TABLE["times_paper"][0],
        Column("paper_top1_percent", "paper's accuracy", "top-1 %", paper=True),
        TABLE["status"][0],
    )
    kept = [i for i, column in enumerate(columns) if column.key not in _OWN_FACTS or _varies(column.key, ours)]
    table = Table(
        caption + MACHINES[setting],
        tuple(columns[i] for i in kept),
        tuple(Row(tuple(row.cells[i] for i in kept), row.begins, row.sign) for row in rows),
        notes.texts,
    )
    return without_empty(table)


def _varies(key: str, entries: Sequence[Entry]) -> bool:
    return len({TABLE[key][1](entry, Notes()).value for entry in entries}) > 1


def _section_3(entries: Sequence[Entry]) -> Section | None:
    tables, plots = [], []
    for place, members in _comparable(entries).items():
        tables.append(_table_3(members, place))
        points = [(e.contender.subject.name, rate(e) or 0, row.top1) for e in members if (row := _row_3(e))]
        caption = f"Speed against accuracy, which is the paper's; up and to the right is better. On {place}."
        plots.append(Scatter(caption, "images in a second, ours", "top-1 in percent, the paper's", tuple(points)))
    if not tables:
        return None
    explained = ("EfficientViM beside its peers by accuracy, which is the paper's and is not measured here.",)
    return Section("table-3", "Beside the peers of the paper's Table 3", explained, tuple(tables), tuple(plots))


def _comparable(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """What ran as a row of Table 3 says, by all that it was timed on and under; fewer than three are no field."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        c = entry.contender
        if entry.sound and _row_3(entry):
            threads = thread_words(c.threads) if c.threads else ""
            facts = [entry.machine, c.engine, c.mode or "", c.precision, threads, f"batch {c.batch_asked}"]
            found.setdefault(", ".join(filter(None, facts)), []).append(entry)
    return {place: members for place, members in found.items() if len(members) >= _FIELD}


def _row_3(entry: Entry) -> Table3 | None:
    """Its row of Table 3, if it ran at that row's resolution."""
    c, row = entry.contender, of_table_3(entry.contender.subject.paper)
    return row if row and c.height == c.width == row.resolution else None


def _table_3(entries: Sequence[Entry], place: str) -> Table:
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
                text(entry.contender.subject.name),
                TABLE["paper_top1_percent"][1](entry, notes),
                printed(row.parameters_m),
                text(words.size(row.resolution, row.resolution)),
                printed(row.images_per_s),
                *(TABLE[key][1](entry, notes) for key in own),
            ),
            sign="baseline" if entry.is_baseline else "",
        )
        for row, entry in listed
    )
    return Table(f"Ours on {place}; the paper's rate on {MACHINES['gpu']}", columns, rows, notes.texts)
