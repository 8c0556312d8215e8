"""Size, parity, accuracy and latency of artifacts, over all formats and precisions, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from latency.report import formatting
from latency.report.columns import NOTHING, TABLE, figure, text
from latency.report.entries import ReportEntry
from latency.report.evidence import ArtifactRow, Evidence
from latency.report.view import Cell, Column, Notes, Row, Section, Table, without_empty

CellFunction = Callable[[ArtifactRow, Notes], Cell]

_EXPLAINED = (
    "Size, parity and accuracy are of the exported file, the latter two in the engine that verified and evaluated it; "
    "latency is of a file that was made in the same way, without preprocessing, in the named engine. A parity "
    "error is relative to the range of the output, the largest of all comparisons in the manifest. Points are lost "
    "top-1 accuracy, relative to the source network. A dash is an unknown value; its note has the reason.",
)
_ALWAYS_SHOWN = (
    *("model", "format", "precision", "size_bytes", "parity", "parity_error"),
    *("top1_percent", "points_lost", "agreement_percent", "time_ms"),
)
"""Columns that are shown even if all their cells are empty, since the cells have notes with the reasons."""

_NOT_TIMED = "not timed"
_NO_MANIFEST = "--artifacts has no manifest of such an artifact"
_NO_ACCURACY = "--accuracy has no evaluation of it"
_ANOTHER_FILE = "the evaluated file of this name is another one"
_UNTRAINED = "untrained weights: its predictions are meaningless"
_NO_REFERENCE = "it was not compared with its source network"


def section(evidence: Evidence, entries: Sequence[ReportEntry]) -> list[Section]:
    """The section, only if there is evidence besides latency."""
    if not evidence:
        return []
    rows = evidence.rows(entries)
    machines = {row.entry.machine for row in rows if row.entry and row.entry.measured}
    columns = [column for column in _COLUMNS if column[0].key != "machine" or len(machines) > 1]
    suffix = f", on {machines.pop()}" if len(machines) == 1 else ""
    table = without_empty(_table(rows, columns, f"By artifact and engine{suffix}"), _ALWAYS_SHOWN)
    return [Section(anchor="precisions", title="Formats and precisions", words=_EXPLAINED, tables=(table,))]


def add_evidence(figures: Table, evidence: Evidence, entries: Sequence[ReportEntry]) -> Table:
    """Add the evidence to a table of all cases, with the artifacts that were not timed below them."""
    if not evidence:
        return figures
    artifact_rows = evidence.rows(entries)
    table = _table(artifact_rows, _COLUMNS, "")
    known = [column.key for column in figures.columns]
    new = [index for index, column in enumerate(table.columns) if column.key not in known]
    empty = (NOTHING,) * len(new)
    by_anchor = {each.entry.anchor: row for each, row in zip(artifact_rows, table.rows, strict=True) if each.entry}
    rows = []
    for entry, row in zip(entries, figures.rows, strict=True):
        added = by_anchor.get(entry.anchor)
        rows.append(Row((*row.cells, *((added.cells[index] for index in new) if added else empty))))
    for artifact_row, added in zip(artifact_rows, table.rows, strict=True):
        if artifact_row.entry is None:
            cells = dict(zip((column.key for column in table.columns), added.cells, strict=True))
            rows.append(Row((*(cells.get(key, NOTHING) for key in known), *(added.cells[index] for index in new))))
    return Table(figures.caption, (*figures.columns, *(table.columns[index] for index in new)), tuple(rows))


def _table(artifact_rows: Sequence[ArtifactRow], columns: Sequence[tuple[Column, CellFunction]], caption: str) -> Table:
    notes = Notes()
    rows = tuple(Row(tuple(cell(each, notes) for _, cell in columns)) for each in artifact_rows)
    return Table(caption, tuple(column for column, _ in columns), rows, notes.texts)


def _missing(notes: Notes, reason: str) -> Cell:
    return Cell(formatting.UNKNOWN, sign="muted", notes=notes.refer([reason]))


def _timed(key: str, otherwise: Callable[[ArtifactRow], str | None] = lambda row: None) -> tuple[Column, CellFunction]:
    """A column of cases, with other text for an artifact that was not timed."""
    column, cell = TABLE[key]
    return column, lambda row, notes: cell(row.entry, notes) if row.entry else text(otherwise(row))


def _time(row: ArtifactRow, notes: Notes) -> Cell:
    if row.entry is None:
        return _missing(notes, _NOT_TIMED)
    if not row.entry.measured:
        return _missing(notes, row.entry.case.reason or row.entry.case.outcome)
    return TABLE["time_ms"][1](row.entry, notes)


def _output_error(row: ArtifactRow, notes: Notes) -> Cell:
    check = row.entry and row.entry.case.check
    return figure(check.error, None, formatting.percent(check.error)) if check and check.error is not None else NOTHING


def _size(row: ArtifactRow, notes: Notes) -> Cell:
    if row.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    return Cell(formatting.number(row.manifest.size_bytes / 1e6), row.manifest.size_bytes)


def _parity(row: ArtifactRow, notes: Notes) -> Cell:
    if row.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    parity = row.manifest.parity
    if reason := _other_precision(row):
        return _missing(notes, reason)
    return Cell(
        parity.status.replace("_", " "), parity.status, notes=notes.refer([parity.reason] if parity.reason else [])
    )


def _parity_error(row: ArtifactRow, notes: Notes) -> Cell:
    if row.manifest is None:
        return _missing(notes, _NO_MANIFEST)
    if reason := _other_precision(row):
        return _missing(notes, reason)
    errors = [comparison.measures.max_abs for comparison in row.manifest.parity.comparisons]
    if not errors:
        return _missing(notes, row.manifest.parity.reason)
    finite = [error for error in errors if error is not None]
    if len(finite) < len(errors):
        return _missing(notes, "it is not finite")
    return figure(max(finite), None, f"{max(finite):.1e}")


def _other_precision(row: ArtifactRow) -> str:
    """The reason why a file's parity and accuracy do not apply to the engine; empty if they do."""
    return f"the engine computes in {row.computed}, the file is fp32" if row.computed else ""


def _accuracy_missing(row: ArtifactRow) -> str:
    """The reason why an accuracy is unknown or does not apply; empty if it applies."""
    if row.accuracy is None:
        return _NO_ACCURACY
    if row.manifest and row.accuracy.sha256 not in (None, row.manifest.sha256):
        return _ANOTHER_FILE
    return _other_precision(row)


def _is_untrained(row: ArtifactRow) -> bool:
    known = (part.weights for part in (row.manifest, row.accuracy) if part)
    return any(weights is not None and not weights.trained for weights in known)


def _accurate(key: str, sign: int = 1) -> CellFunction:
    """A figure of an artifact's accuracy, which is meaningless with untrained weights."""

    def cell(row: ArtifactRow, notes: Notes) -> Cell:
        if reason := _accuracy_missing(row):
            return _missing(notes, reason)
        if _is_untrained(row):
            return _missing(notes, _UNTRAINED)
        value = getattr(row.accuracy, key)
        if value is None:
            return _missing(notes, _NO_REFERENCE)
        value = sign * value + 0.0  # never -0.0
        return Cell(f"{value:.2f}", value)

    return cell


def _agreement(row: ArtifactRow, notes: Notes) -> Cell:
    if reason := _accuracy_missing(row):
        return _missing(notes, reason)
    assert row.accuracy is not None
    value = row.accuracy.agreement
    return _missing(notes, _NO_REFERENCE) if value is None else Cell(f"{value:.2f}", value)


def _images(row: ArtifactRow, notes: Notes) -> Cell:
    if row.accuracy is None or _accuracy_missing(row):
        return NOTHING
    return Cell(f"{row.accuracy.count:,}", row.accuracy.count)


def _model(row: ArtifactRow) -> str | None:
    if row.manifest:
        return row.manifest.model
    return row.accuracy.name if row.accuracy else None


def _precision(row: ArtifactRow) -> str | None:
    return row.manifest.precision if row.manifest else None


def _pixels(row: ArtifactRow) -> str | None:
    size = row.manifest.resolution if row.manifest else None
    return formatting.size(*size) if isinstance(size, tuple) else size


_COLUMNS: tuple[tuple[Column, CellFunction], ...] = (
    _timed("model", _model),
    (Column("format", "format", numeric=False), lambda row, _: text(row.format)),
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
    (Column("answer_error", "output error", "of the largest output, as timed"), _output_error),
)
