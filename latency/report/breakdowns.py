"""Where the time goes, by an engine's own profile; and the paper's Figure 3, one head against several."""

from __future__ import annotations

from collections.abc import Sequence

from latency.breakdown import CLASSES, COPIES
from latency.paper import MOVEMENT_SHARES
from latency.report import words
from latency.report.columns import TABLE, figure, table_of, text
from latency.report.entries import Entry
from latency.report.view import Bars, Cell, Column, Notes, Row, Section, Table


def sections(entries: Sequence[Entry]) -> list[Section]:
    """A section of models, and one of mixers; each is left out where there are none."""
    models = [e for e in entries if e.contender.breakdown and e.contender.subject.kind != "mixer"]
    mixers = [e for e in entries if e.contender.subject.kind == "mixer"]
    return [*([_models(models)] if models else []), *([_mixers(mixers)] if mixers else [])]


_SHOWN = ("engine", "precision", "resolution", "threads", "batch")


def shares(entry: Entry) -> dict[str, float]:
    """The share of each class of operations in the profile."""
    seconds: dict[str, float] = {}
    for share in entry.contender.breakdown or ():
        seconds[share.operation_class] = seconds.get(share.operation_class, 0.0) + share.seconds
    total = sum(seconds.values())
    return {name: took / total for name, took in seconds.items()} if total else {}


def _models(entries: Sequence[Entry]) -> Section:
    explained = (
        "Shares of the time that the engine's own profile gives to each class of operations. Profiling slows a "
        "prediction, so these are shares and not times.",
    )
    return Section("breakdown", "Where the time goes", explained, (_table(entries),), (_bars(entries),))


def _mixers(entries: Sequence[Entry]) -> Section:
    explained = (
        "The HSM-SSD layer alone with one head, as the model has it, and with several heads. The paper's shares are "
        f"of a GPU: {words.percent(MOVEMENT_SHARES['single-head'])} of the time goes to copies and reshapes with one "
        f"head, {words.percent(MOVEMENT_SHARES['multi-head'])} with several.",
    )
    profiled = [entry for entry in entries if entry.contender.breakdown]
    share = Column("movement_share", "copies and reshapes", "share of the time")
    printed = Column("paper_movement_share", "paper's share", "of the time", paper=True)
    extra = (
        (share, lambda e, _: _share(shares(e).get(COPIES, 0.0) if e.contender.breakdown else None)),
        (printed, lambda e, _: _share(MOVEMENT_SHARES.get(e.contender.subject.source))),
    )
    first = next((entry for entry in entries if entry.measured), entries[0])
    keys = ("model", "resolution", "engine", "precision", "threads", "batch", "time_ms", "ratio", "verdict", "status")
    caption = f"The layer of EfficientViM-M2's first stage, on {first.machine}"
    table = table_of(entries, keys, caption, extra)
    tables = (table, _table(profiled)) if profiled else (table,)
    title = "One head or several: the paper's Figure 3"
    return Section("figure-3", title, explained, tables, (_bars(profiled),) if profiled else ())


def _share(value: float | None) -> Cell:
    return figure(value, None, words.percent(value))


def _classes(entries: Sequence[Entry]) -> list[str]:
    """Those that anybody spends time on, in the order of all breakdowns; a file may have classes of its own."""
    present = dict.fromkeys(name for entry in entries for name in shares(entry))
    return [*(name for name in CLASSES if name in present), *(name for name in present if name not in CLASSES)]


def _label(entry: Entry) -> str:
    c = entry.contender
    return f"{c.subject.name}, {c.engine} {c.precision}"


def _table(entries: Sequence[Entry]) -> Table:
    classes = _classes(entries)
    columns = (
        Column("model", "model", numeric=False),
        *(TABLE[key][0] for key in _SHOWN),
        *(Column(f"share_{name.replace(' ', '_')}", name, "share") for name in classes),
    )
    rows, notes = [], Notes()
    for entry in entries:
        found = shares(entry)
        facts = (TABLE[key][1](entry, notes) for key in _SHOWN)
        cells = (text(entry.contender.subject.name), *facts)
        rows.append(Row((*cells, *(_share(found.get(name)) for name in classes))))
    machines = words.listed(dict.fromkeys(entry.machine for entry in entries))
    return Table(
        f"Shares of one prediction, by the engine's own profile, on {machines}", columns, tuple(rows), notes.texts
    )


def _bars(entries: Sequence[Entry]) -> Bars:
    classes = _classes(entries)
    rows = [(_label(entry), tuple(shares(entry).get(name, 0.0) for name in classes)) for entry in entries]
    return Bars("Shares of one prediction by class of operations", tuple(classes), tuple(rows))
