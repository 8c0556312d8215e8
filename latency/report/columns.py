"""The columns that contenders have in tables: each is a title and what it says of one contender."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from latency.judgement import FASTER, INVALID, NOT_MEASURED, SLOWER, SUSPECT, TOO_FEW, UNDECIDED, VALID
from latency.paper import USUAL_EPOCHS, of_table_3, peak_bytes
from latency.report import words
from latency.report.entries import Entry
from latency.report.view import Cell, Column, Notes, Row, Table, without_empty

Teller = Callable[[Entry, Notes], Cell]

NOTHING = Cell("")
_VERDICTS = {FASTER: ("▼", "good"), SLOWER: ("▲", "bad"), UNDECIDED: ("◇", "unsure")}
_STATUSES = {VALID: ("●", "good"), SUSPECT: ("◐", "unsure"), INVALID: ("✕", "bad"), NOT_MEASURED: ("○", "muted")}


def figure(value: float | None, entry: Entry | None = None, text: str | None = None) -> Cell:
    """A number, which leads to its samples where it comes from an entry's."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return Cell(words.number(value) if text is None else text, value, target=entry.anchor if entry else "")


def printed(value: float | None) -> Cell:
    """A figure of the paper with the digits that it has there."""
    return NOTHING if value is None else Cell(f"{value:,}", value)


def text(value: str | None) -> Cell:
    """Words, which are their own value."""
    return Cell(value, value) if value else NOTHING


def _model(entry: Entry, notes: Notes) -> Cell:
    name = entry.contender.subject.name
    weights = entry.contender.subject.weights
    return Cell(name, name, notes=notes.refer([f"untrained weights: {weights}"]) if entry.untrained else ())


def _batch(entry: Entry, notes: Notes) -> Cell:
    c = entry.contender
    if c.batch == c.batch_asked or not entry.measured:
        return Cell(str(c.batch_asked), c.batch_asked)
    halved = notes.refer([f"of {c.batch_asked} images asked for, as many as fit in memory"])
    return Cell(f"{c.batch} of {c.batch_asked}", c.batch, notes=halved)


def _p90(entry: Entry, notes: Notes) -> Cell:
    summary = entry.judgement.summary
    return figure(1e3 * summary.p90 / entry.contender.batch if summary else None, entry)


def _rate(entry: Entry, notes: Notes) -> Cell:
    return figure(rate(entry), entry)


def rate(entry: Entry) -> float | None:
    """Images in a second, by the time of one."""
    return 1e3 / entry.milliseconds if entry.milliseconds else None


def _ratio(entry: Entry, notes: Notes) -> Cell:
    if entry.is_baseline and entry.comparison is None:
        return Cell("1", 1.0, "muted")
    if entry.comparison is None:
        return NOTHING
    found = entry.comparison.interval
    if found is None:
        return Cell(words.UNKNOWN, notes=notes.refer([TOO_FEW]))
    return figure(found.estimate, entry, words.interval(found))


def _bound(name: str) -> Teller:
    def tell(entry: Entry, notes: Notes) -> Cell:
        found = entry.comparison.interval if entry.comparison else None
        return figure(getattr(found, name) if found else None, entry)

    return tell


def _verdict(entry: Entry, notes: Notes) -> Cell:
    if entry.comparison is None:
        return Cell("baseline", "baseline", "muted") if entry.is_baseline and entry.measured else NOTHING
    verdict, reason = entry.comparison.verdict, entry.comparison.decision.reason
    mark, sign = _VERDICTS[verdict]
    return Cell(f"{mark} {verdict}", verdict, sign, notes.refer([reason] if reason else []))


def _paper(entry: Entry, notes: Notes) -> Cell:
    return printed(entry.paper_milliseconds)


def quotient(entry: Entry) -> float | None:
    """How many times the paper's time an image takes here."""
    if entry.milliseconds is None or not entry.paper_milliseconds:
        return None
    return entry.milliseconds / entry.paper_milliseconds


def _top1(entry: Entry, notes: Notes) -> Cell:
    c, row = entry.contender, of_table_3(entry.contender.subject.paper)
    # a distilled model stands beside the row of the plain one for its speed; its accuracy is another
    if row is None or c.subject.name != row.method or not c.height == c.width == row.resolution:
        return NOTHING
    longer = [] if row.epochs == USUAL_EPOCHS else [f"trained for {row.epochs} epochs"]
    return Cell(f"{row.top1:.1f}", row.top1, notes=notes.refer(longer))


def _status(entry: Entry, notes: Notes) -> Cell:
    judgement = entry.judgement
    mark, sign = _STATUSES[judgement.status]
    word = judgement.status if entry.measured else entry.contender.outcome
    reasons = [] if judgement.reasons == (word,) else judgement.reasons
    return Cell(f"{mark} {word}", word, sign, notes.refer(reasons))


def _samples(entry: Entry, notes: Notes) -> Cell:
    summary = entry.judgement.summary
    return figure(summary.count, entry, str(summary.count)) if summary else NOTHING


def _peak(entry: Entry, notes: Notes) -> Cell:
    memory = entry.contender.memory
    return Cell(words.memory(memory.peak_bytes), memory.peak_bytes) if memory else NOTHING


def _grown(entry: Entry, notes: Notes) -> Cell:
    memory = entry.contender.memory
    grown = memory.peak_bytes - memory.before_bytes if memory else 0
    return Cell(words.memory(grown), grown) if memory and grown > 0 else NOTHING


def _of(entry: Entry, notes: Notes) -> Cell:
    memory = entry.contender.memory
    return text({"process": "the process", "accelerator": "the GPU"}[memory.of]) if memory else NOTHING


def _paper_peak(entry: Entry, notes: Notes) -> Cell:
    c = entry.contender
    found = peak_bytes(c.subject.paper, c.setting) if c.memory and c.batch == c.batch_asked else None
    return Cell(words.memory(found), found) if found else NOTHING


def _cold(name: str) -> Teller:
    def tell(entry: Entry, notes: Notes) -> Cell:
        start = entry.contender.cold_start
        return figure(1e3 * getattr(start, name)) if start else NOTHING

    return tell


def _threads(entry: Entry, notes: Notes) -> Cell:
    if entry.threads is None:
        return Cell(words.UNKNOWN)
    return Cell(str(entry.contender.threads or "all"), entry.threads)


TABLE: dict[str, tuple[Column, Teller]] = {
    column.key: (column, tell)
    for column, tell in (
        (Column("model", "model", numeric=False), _model),
        (Column("machine", "machine", numeric=False), lambda e, _: text(e.machine if e.measured else None)),
        (Column("engine", "engine", numeric=False), lambda e, _: text(e.contender.engine)),
        (Column("mode", "mode", numeric=False), lambda e, _: text(e.contender.mode)),
        (Column("precision", "precision", numeric=False), lambda e, _: text(e.contender.precision)),
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
        (Column("peak_above_before_bytes", "above what was held before"), _grown),
        (Column("memory_of", "of", numeric=False), _of),
        (Column("paper_peak_bytes", "paper's peak memory", paper=True), _paper_peak),
    )
}


def resolution(entry: Entry) -> str:
    """Of its images."""
    return words.size(entry.contender.height, entry.contender.width)


def table_of(
    entries: Sequence[Entry], keys: Iterable[str], caption: str, extra: Iterable[tuple[Column, Teller]] = ()
) -> Table:
    """Contenders under columns of the table above, those in which nobody has anything left out."""
    notes = Notes()
    columns = [TABLE[key] for key in keys] + list(extra)
    rows = []
    for place, entry in enumerate(entries):
        cells = tuple(tell(entry, notes) for _, tell in columns)
        above = entries[place - 1] if place else entry
        begins = (above.file, above.contender.group) != (entry.file, entry.contender.group)
        sign = "" if entry.measured else "missing"
        rows.append(Row(cells, begins, "baseline" if entry.is_baseline and entry.measured else sign))
    return without_empty(Table(caption, tuple(column for column, _ in columns), tuple(rows), notes.texts), ("model",))
