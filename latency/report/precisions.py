"""Size, parity, accuracy and latency of artifacts, over all formats and precisions, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latency.report import words
from latency.report.columns import NOTHING, TABLE, figure, text
from latency.report.entries import Entry
from latency.report.evidence import Evidence, Line
from latency.report.view import Cell, Column, Notes, Row, Section, Table, without_empty

Teller = Callable[[Line, Notes], Cell]

_EXPLAINED = (
    "Size, parity and accuracy are of the exported file, the latter two in the engine that proved and evaluated it; "
    "latency is of a file that was made in the same way, without preprocessing, in the engine that is named. A parity "
    "error is a share of the range of the output, and the largest of all comparisons in the manifest. Points are of "
    "top-1, lost against the network that the file was made from. A dash was not measured, and its note says why.",
)
_KEPT = (
    *("model", "format", "precision", "size_bytes", "parity", "parity_error"),
    *("top1_percent", "points_lost", "agreement_percent", "time_ms"),
)
"""Columns that stand though all their cells are empty: the reasons are there."""

_NOT_TIMED = "not timed"
_NO_MANIFEST = "no manifest of such an artifact was given with --artifacts"
_NO_ACCURACY = "no evaluation of it was given with --accuracy"
_ANOTHER_FILE = "what was evaluated is another file of that name"
_UNTRAINED = "untrained weights: its answers mean nothing"
_NO_REFERENCE = "it was not compared with the network that it was made from"


def section(evidence: Evidence, entries: Sequence[Entry]) -> list[Section]:
    """The table; nothing where nothing but latency is known."""
    if not evidence:
        return []
    lines = evidence.lines(entries)
    machines = {line.entry.machine for line in lines if line.entry and line.entry.measured}
    columns = [column for column in _COLUMNS if column[0].key != "machine" or len(machines) > 1]
    where = f", on {machines.pop()}" if len(machines) == 1 else ""
    table = _table(lines, columns, f"By artifact and engine{where}")
    return [Section("precisions", "Formats and precisions", _EXPLAINED, (without_empty(table, _KEPT),))]


def beside(figures: Table, evidence: Evidence, entries: Sequence[Entry]) -> Table:
    """Figures of all contenders with what else is known of each, and artifacts that were not timed below them."""
    if not evidence:
        return figures
    lines = evidence.lines(entries)
    table = _table(lines, _COLUMNS, "")
    known = [column.key for column in figures.columns]
    new = [place for place, column in enumerate(table.columns) if column.key not in known]
    empty = (NOTHING,) * len(new)
    by_anchor = {line.entry.anchor: row for line, row in zip(lines, table.rows, strict=True) if line.entry}
    rows = []
    for entry, row in zip(entries, figures.rows, strict=True):
        facts = by_anchor.get(entry.anchor)
        rows.append(Row((*row.cells, *((facts.cells[place] for place in new) if facts else empty))))
    for line, facts in zip(lines, table.rows, strict=True):
        if line.entry is None:
            cells = dict(zip((column.key for column in table.columns), facts.cells, strict=True))
            rows.append(Row((*(cells.get(key, NOTHING) for key in known), *(facts.cells[place] for place in new))))
    return Table(figures.caption, (*figures.columns, *(table.columns[place] for place in new)), tuple(rows))


def _table(lines: Sequence[Line], columns: Sequence[tuple[Column, Teller]], caption: str) -> Table:
    notes = Notes()
    rows = tuple(Row(tuple(tell(line, notes) for _, tell in columns)) for line in lines)
    return Table(caption, tuple(column for column, _ in columns), rows, notes.texts)


def _missing(notes: Notes, why: str) -> Cell:
    return Cell(words.UNKNOWN, None, "muted", notes.refer([why]))


def _timed(key: str, otherwise: Callable[[Line], str | None] = lambda line: None) -> tuple[Column, Teller]:
    """A column of contenders, and what stands in it of an artifact that was not timed."""
    column, tell = TABLE[key]
    return column, lambda line, notes: tell(line.entry, notes) if line.entry else text(otherwise(line))


def _time(line: Line, notes: Notes) -> Cell:
    if line.entry is None:
        return _missing(notes, _NOT_TIMED)
    if not line.entry.measured:
        return _missing(notes, line.entry.contender.reason or line.entry.contender.outcome)
    return TABLE["time_ms"][1](line.entry, notes)


def _off(line: Line, notes: Notes) -> Cell:
    check = line.entry and line.entry.contender.check
    return figure(check.error, None, words.percent(check.error)) if check and check.error is not None else NOTHING


def _size(line: Line, notes: Notes) -> Cell:
    if line.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    return Cell(words.number(line.manifest.size_bytes / 1e6), line.manifest.size_bytes)


def _parity(line: Line, notes: Notes) -> Cell:
    if line.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    parity = line.manifest.parity
    if why := _computed(line):
        return _missing(notes, why)
    return Cell(
        parity.status.replace("_", " "), parity.status, notes=notes.refer([parity.reason] if parity.reason else [])
    )


def _parity_error(line: Line, notes: Notes) -> Cell:
    if line.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    if why := _computed(line):
        return _missing(notes, why)
    errors = [comparison.measures.max_abs for comparison in line.manifest.parity.comparisons]
    if not errors:
        return _missing(notes, line.manifest.parity.reason)
    finite = [error for error in errors if error is not None]
    if len(finite) < len(errors):
        return _missing(notes, "it is not finite")
    return figure(max(finite), None, f"{max(finite):.1e}")


def _computed(line: Line) -> str:
    """Why a file's parity and accuracy do not hold; empty where they do."""
    return f"the engine computes in {line.computed} what is fp32 in the file" if line.computed else ""


def _why_not(line: Line) -> str:
    """Why an accuracy is not known, or means nothing; empty where it stands."""
    if line.accuracy is None:
        return _NO_ACCURACY
    if line.manifest and line.accuracy.sha256 not in (None, line.manifest.sha256):
        return _ANOTHER_FILE
    return _computed(line)


def _is_untrained(line: Line) -> bool:
    known = (part.weights for part in (line.manifest, line.accuracy) if part)
    return any(weights is not None and not weights.trained for weights in known)


def _accurate(key: str, sign: int = 1) -> Teller:
    """A figure of how often it is right, which means nothing with untrained weights."""

    def tell(line: Line, notes: Notes) -> Cell:
        if why := _why_not(line):
            return _missing(notes, why)
        if _is_untrained(line):
            return _missing(notes, _UNTRAINED)
        value = getattr(line.accuracy, key)
        if value is None:
            return _missing(notes, _NO_REFERENCE)
        value = sign * value + 0.0  # never -0.0
        return Cell(f"{value:.2f}", value)

    return tell


def _agreement(line: Line, notes: Notes) -> Cell:
    if why := _why_not(line):
        return _missing(notes, why)
    assert line.accuracy is not None
    value = line.accuracy.agreement
    return _missing(notes, _NO_REFERENCE) if value is None else Cell(f"{value:.2f}", value)


def _images(line: Line, notes: Notes) -> Cell:
    if line.accuracy is None or _why_not(line):
        return NOTHING
    return Cell(f"{line.accuracy.count:,}", line.accuracy.count)


def _model(line: Line) -> str | None:
    if line.manifest:
        return line.manifest.model
    return line.accuracy.name if line.accuracy else None


def _precision(line: Line) -> str | None:
    return line.manifest.precision if line.manifest else None


def _pixels(line: Line) -> str | None:
    size = line.manifest.resolution if line.manifest else None
    return words.size(*size) if isinstance(size, tuple) else size


_COLUMNS: tuple[tuple[Column, Teller], ...] = (
    _timed("model", _model),
    (Column("format", "format", numeric=False), lambda line, _: text(line.format)),
    _timed("precision", _precision),
    _timed("engine"),
    _timed("mode"),
    _timed("machine"),
    _timed("resolution", _pixels),
    _timed("threads"),
    _timed("batch"),
    (Column("size_bytes", "size", "MB"), _size),
    (Column("parity", "parity", numeric=False), _parity),
    (Column("parity_error", "largest error", "of the range"), _parity_error),
    (Column("top1_percent", "top-1", "%"), _accurate("top1")),
    (Column("points_lost", "lost", "points of top-1"), _accurate("difference", -1)),
    (Column("agreement_percent", "agreement", "%"), _agreement),
    (Column("evaluated_images", "images"), _images),
    (Column("time_ms", "time", "ms an image"), _time),
    _timed("ratio"),
    _timed("verdict"),
    (Column("answer_error", "answer off", "largest of the output, as timed"), _off),
)
