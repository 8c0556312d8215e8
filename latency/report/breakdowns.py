"""Breakdowns of the time by an engine's own profile, and the paper's Figure 3: one head compared with several."""

from __future__ import annotations

from collections.abc import Sequence

from latency.breakdown import OperationClass
from latency.enums import SubjectKind
from latency.paper import MOVEMENT_SHARES
from latency.report import formatting
from latency.report.columns import TABLE, figure, table_of, text
from latency.report.entries import ReportEntry
from latency.report.view import Bars, Cell, Column, Notes, Row, Section, Table


def sections(entries: Sequence[ReportEntry]) -> list[Section]:
    """A section of models and a section of mixers, each only if there are any."""
    models = [e for e in entries if e.case.breakdown and e.case.subject.kind != SubjectKind.MIXER]
    mixers = [e for e in entries if e.case.subject.kind == SubjectKind.MIXER]
    return [*([_models(models)] if models else []), *([_mixers(mixers)] if mixers else [])]


_SHOWN = ("engine", "precision", "resolution", "threads", "batch")


def shares(entry: ReportEntry) -> dict[str, float]:
    """The share of each class of operations in the profile of a case."""
    seconds: dict[str, float] = {}
    for share in entry.case.breakdown or ():
        seconds[share.operation_class] = seconds.get(share.operation_class, 0.0) + share.seconds
    total = sum(seconds.values())
    return {name: spent / total for name, spent in seconds.items()} if total else {}


def _models(entries: Sequence[ReportEntry]) -> Section:
    explained = (
        "Share of each class of operations in the time, by the engine's own profile. Profiling slows down a "
        "prediction, so the table has shares instead of times.",
    )
    return Section(
        anchor="breakdown",
        title="Where the time goes",
        words=explained,
        tables=(_table(entries),),
        plots=(_bars(entries),),
    )


def _mixers(entries: Sequence[ReportEntry]) -> Section:
    explained = (
        "The HSM-SSD layer alone, with a single head as in the model, and with several heads. In the paper, on a GPU, "
        f"copies and reshapes take {formatting.percent(MOVEMENT_SHARES['single-head'])} of the time with one head, "
        f"{formatting.percent(MOVEMENT_SHARES['multi-head'])} with several.",
    )
    profiled = [entry for entry in entries if entry.case.breakdown]
    share = Column("movement_share", "copies and reshapes", "share of the time")
    paper_share = Column("paper_movement_share", "paper's share", "of the time", paper=True)
    extra = (
        (share, lambda e, _: _share(shares(e).get(OperationClass.COPIES, 0.0) if e.case.breakdown else None)),
        (paper_share, lambda e, _: _share(MOVEMENT_SHARES.get(e.case.subject.source))),
    )
    first = next((entry for entry in entries if entry.measured), entries[0])
    keys = ("model", "resolution", "engine", "precision", "threads", "batch", "time_ms", "ratio", "verdict", "status")
    caption = f"The layer of EfficientViM-M2's first stage, on {first.machine}"
    table = table_of(entries, keys, caption, extra)
    tables = (table, _table(profiled)) if profiled else (table,)
    return Section(
        anchor="figure-3",
        title="One head or several: the paper's Figure 3",
        words=explained,
        tables=tables,
        plots=(_bars(profiled),) if profiled else (),
    )


def _share(value: float | None) -> Cell:
    return figure(value, None, formatting.percent(value))


def _classes(entries: Sequence[ReportEntry]) -> list[str]:
    """The classes that occur, in the order of all breakdowns; a file may have classes of its own."""
    known = [str(class_) for class_ in OperationClass]
    present = dict.fromkeys(name for entry in entries for name in shares(entry))
    return [*(name for name in known if name in present), *(name for name in present if name not in known)]


def _label(entry: ReportEntry) -> str:
    c = entry.case
    return f"{c.subject.name}, {c.engine} {c.precision}"


def _table(entries: Sequence[ReportEntry]) -> Table:
    classes = _classes(entries)
    columns = (
        Column("model", "model", numeric=False),
        *(TABLE[key][0] for key in _SHOWN),
        *(Column(f"share_{name.replace(' ', '_')}", name, "share") for name in classes),
    )
    rows, notes = [], Notes()
    for entry in entries:
        own = shares(entry)
        facts = (TABLE[key][1](entry, notes) for key in _SHOWN)
        cells = (text(entry.case.subject.name), *facts)
        rows.append(Row((*cells, *(_share(own.get(name)) for name in classes))))
    machines = formatting.listed(dict.fromkeys(entry.machine for entry in entries))
    return Table(
        f"Shares of one prediction, by the engine's own profile, on {machines}", columns, tuple(rows), notes.texts
    )


def _bars(entries: Sequence[ReportEntry]) -> Bars:
    classes = _classes(entries)
    rows = [(_label(entry), tuple(shares(entry).get(name, 0.0) for name in classes)) for entry in entries]
    return Bars("Shares of one prediction by class of operations", tuple(classes), tuple(rows))
