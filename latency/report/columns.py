"""The columns of cases in tables: each is a heading with a function that makes a case's cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from latency.decision import TOO_FEW, Validity, Verdict
from latency.paper import USUAL_EPOCHS, peak_bytes, table_3_row
from latency.report import formatting
from latency.report.entries import ReportEntry
from latency.report.view import Cell, Column, Notes, Row, Table, without_empty

CellFunction = Callable[[ReportEntry, Notes], Cell]

NOTHING = Cell("")
_VERDICTS = {
    Verdict.FASTER: ("▼", "good"),
    Verdict.SLOWER: ("▲", "bad"),
    Verdict.UNDECIDED: ("◇", "unsure"),
}
_STATUSES = {
    Validity.VALID: ("●", "good"),
    Validity.SUSPECT: ("◐", "unsure"),
    Validity.INVALID: ("✕", "bad"),
    Validity.NOT_MEASURED: ("○", "muted"),
}


def figure(value: float | None, entry: ReportEntry | None = None, text: str | None = None) -> Cell:
    """A cell with a number, linked to the samples of an entry if set; empty if unknown or not finite."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Cell(formatting.number(value) if text is None else text, value, target=entry.anchor if entry else "")


def paper_figure(value: float | None) -> Cell:
    """A cell with a figure of the paper, with the paper's digits."""
    return NOTHING if value is None else Cell(f"{value:,}", value)


def text(value: str | None) -> Cell:
    """A cell with text, which is also its value."""
    return Cell(value, value) if value else NOTHING


def _model(entry: ReportEntry, notes: Notes) -> Cell:
    name = entry.case.subject.name
    weights = entry.case.subject.weights
    return Cell(name, name, notes=notes.refer([f"untrained weights: {weights}"]) if entry.untrained else ())


def _batch(entry: ReportEntry, notes: Notes) -> Cell:
    c = entry.case
    if c.batch == c.batch_asked or not entry.measured:
        return Cell(str(c.batch_asked), c.batch_asked)
    halved = notes.refer([f"the largest batch that fits in memory; {c.batch_asked} images were requested"])
    return Cell(f"{c.batch} of {c.batch_asked}", c.batch, notes=halved)


def _p90(entry: ReportEntry, notes: Notes) -> Cell:
    summary = entry.judgement.summary
    return figure(1e3 * summary.p90 / entry.case.batch if summary else None, entry)


def _rate(entry: ReportEntry, notes: Notes) -> Cell:
    return figure(rate(entry), entry)


def rate(entry: ReportEntry) -> float | None:
    """Images per second, from the time of an image."""
    return 1e3 / entry.milliseconds if entry.milliseconds else None


def _ratio(entry: ReportEntry, notes: Notes) -> Cell:
    if entry.is_baseline and entry.comparison is None:
        return Cell("1", 1.0, sign="muted")
    if entry.comparison is None:
        return NOTHING
    interval = entry.comparison.interval
    if interval is None:
        return Cell(formatting.UNKNOWN, notes=notes.refer([TOO_FEW]))
    return figure(interval.estimate, entry, formatting.interval(interval))


def _bound(name: str) -> CellFunction:
    def cell(entry: ReportEntry, notes: Notes) -> Cell:
        interval = entry.comparison.interval if entry.comparison else None
        return figure(getattr(interval, name) if interval else None, entry)

    return cell


def _verdict(entry: ReportEntry, notes: Notes) -> Cell:
    if entry.comparison is None:
        return Cell("baseline", "baseline", sign="muted") if entry.is_baseline and entry.measured else NOTHING
    verdict, reason = entry.comparison.verdict, entry.comparison.decision.reason
    mark, sign = _VERDICTS[verdict]
    return Cell(f"{mark} {verdict}", verdict, sign=sign, notes=notes.refer([reason] if reason else []))


def _paper(entry: ReportEntry, notes: Notes) -> Cell:
    return paper_figure(entry.paper_milliseconds)


def quotient(entry: ReportEntry) -> float | None:
    """The ratio of the time of an image to the paper's; None if either is unknown."""
    if entry.milliseconds is None or not entry.paper_milliseconds:
        return None
    return entry.milliseconds / entry.paper_milliseconds


def _top1(entry: ReportEntry, notes: Notes) -> Cell:
    c, row = entry.case, table_3_row(entry.case.subject.paper)
    # a distilled model has the speed of the plain one, but another accuracy
    if row is None or c.subject.name != row.method or not c.height == c.width == row.resolution:
        return NOTHING
    longer = [] if row.epochs == USUAL_EPOCHS else [f"trained for {row.epochs} epochs"]
    return Cell(f"{row.top1:.1f}", row.top1, notes=notes.refer(longer))


def _status(entry: ReportEntry, notes: Notes) -> Cell:
    judgement = entry.judgement
    mark, sign = _STATUSES[judgement.status]
    status: str = judgement.status if entry.measured else entry.case.outcome
    reasons = [] if judgement.reasons == (status,) else judgement.reasons
    return Cell(f"{mark} {status}", status, sign=sign, notes=notes.refer(reasons))


def _samples(entry: ReportEntry, notes: Notes) -> Cell:
    summary = entry.judgement.summary
    return figure(summary.count, entry, str(summary.count)) if summary else NOTHING


def _peak(entry: ReportEntry, notes: Notes) -> Cell:
    memory = entry.case.memory
    return Cell(formatting.memory(memory.peak_bytes), memory.peak_bytes) if memory else NOTHING


def _peak_above_before(entry: ReportEntry, notes: Notes) -> Cell:
    memory = entry.case.memory
    above = memory.peak_bytes - memory.before_bytes if memory else 0
    return Cell(formatting.memory(above), above) if memory and above > 0 else NOTHING


def _memory_of(entry: ReportEntry, notes: Notes) -> Cell:
    memory = entry.case.memory
    return text({"process": "the process", "accelerator": "the GPU"}[memory.of]) if memory else NOTHING


def _paper_peak(entry: ReportEntry, notes: Notes) -> Cell:
    c = entry.case
    peak = peak_bytes(c.subject.paper, c.setting) if c.memory and c.batch == c.batch_asked else None
    return Cell(formatting.memory(peak), peak) if peak else NOTHING


def _cold(name: str) -> CellFunction:
    def cell(entry: ReportEntry, notes: Notes) -> Cell:
        start = entry.case.cold_start
        return figure(1e3 * getattr(start, name)) if start else NOTHING

    return cell


def _threads(entry: ReportEntry, notes: Notes) -> Cell:
    if entry.threads is None:
        return Cell(formatting.UNKNOWN)
    return Cell(str(entry.case.threads or "all"), entry.threads)


TABLE: dict[str, tuple[Column, CellFunction]] = {
    column.key: (column, cell)
    for column, cell in (
        (Column("model", "model", numeric=False), _model),
        (Column("machine", "machine", numeric=False), lambda e, _: text(e.machine if e.measured else None)),
        (Column("engine", "engine", numeric=False), lambda e, _: text(e.case.engine)),
        (Column("mode", "mode", numeric=False), lambda e, _: text(e.case.mode)),
        (Column("precision", "precision", numeric=False), lambda e, _: text(e.case.precision)),
        (Column("resolution", "pixels", numeric=False), lambda e, _: text(resolution(e))),
        (Column("threads", "threads"), _threads),
        (Column("batch", "batch"), _batch),
        (Column("time_ms", "time", "ms an image"), lambda e, _: figure(e.milliseconds, e)),
        (Column("p90_ms", "90 % below", "ms an image"), _p90),
        (Column("images_per_s", "rate", "images/s"), _rate),
        (Column("ratio", "times the baseline", "95 % interval"), _ratio),
        (Column("ratio_low", "lower bound"), _bound("low")),
        (Column("ratio_high", "upper bound"), _bound("high")),
        (Column("verdict", "verdict", numeric=False), _verdict),
        (Column("paper_ms", "paper's time", "ms an image", paper=True), _paper),
        (Column("times_paper", "ours / paper's"), lambda e, _: figure(quotient(e), e)),
        (Column("paper_top1_percent", "paper's accuracy", "top-1 %", paper=True), _top1),
        (Column("status", "status", numeric=False), _status),
        (Column("samples", "samples"), _samples),
        (Column("cold_load_ms", "load", "ms"), _cold("load_s")),
        (Column("cold_first_ms", "first prediction", "ms"), _cold("first_prediction_s")),
        (Column("peak_bytes", "peak memory"), _peak),
        (Column("peak_above_before_bytes", "above what was held before"), _peak_above_before),
        (Column("memory_of", "of", numeric=False), _memory_of),
        (Column("paper_peak_bytes", "paper's peak memory", paper=True), _paper_peak),
    )
}


def resolution(entry: ReportEntry) -> str:
    """The size of its images."""
    return formatting.size(entry.case.height, entry.case.width)


def table_of(
    entries: Sequence[ReportEntry], keys: Iterable[str], caption: str, extra: Iterable[tuple[Column, CellFunction]] = ()
) -> Table:
    """A table of cases, without columns that are empty for all of them.

    Args:
        entries: The rows.
        keys: Columns of :data:`TABLE`.
        caption: Caption of the table.
        extra: Other columns.
    """
    notes = Notes()
    columns = [TABLE[key] for key in keys] + list(extra)
    rows = []
    for index, entry in enumerate(entries):
        cells = tuple(cell(entry, notes) for _, cell in columns)
        previous = entries[index - 1] if index else entry
        begins = (previous.file, previous.case.group) != (entry.file, entry.case.group)
        sign = "" if entry.measured else "missing"
        rows.append(Row(cells, begins, "baseline" if entry.is_baseline and entry.measured else sign))
    return without_empty(Table(caption, tuple(column for column, _ in columns), tuple(rows), notes.texts), ("model",))
