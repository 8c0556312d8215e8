"""The contents of a report as plain values, the only input of the writers of HTML, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field

from evim_deploy.common.json_documents import finite

Value = float | int | str | None


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Formatted text.
        value: Unrounded value in the column's unit; None if there is none.
        sign: Kind of statement, for its colour: ``good``, ``bad``, ``unsure``, ``muted``.
        notes: Indices of its notes in the table.
        target: Anchor of the samples that it was computed from.
    """

    text: str
    value: Value = None
    _: KW_ONLY
    sign: str = ""
    notes: tuple[int, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Name in JSON and CSV, with the unit as a suffix.
        title: Heading.
        unit: Unit of the values; empty for text.
        numeric: Whether the values are numbers.
        paper: Whether the figures are the paper's, not measured here.
    """

    key: str
    title: str
    unit: str = ""
    _: KW_ONLY
    numeric: bool = True
    paper: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: Cells in the order of the columns; the first is the name of the row.
        begins: Whether the row starts another group; ratios exist only within a group.
        sign: ``missing`` for a case that was not measured, ``baseline`` for a baseline.
    """

    cells: tuple[Cell, ...]
    begins: bool = False
    sign: str = ""


@dataclass(frozen=True)
class Table:
    """A table, with a caption that applies to all rows, and notes that cells refer to."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A line of a plot: points in the order of x, with hollow markers where ``hollow`` is set."""

    label: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    hollow: tuple[bool, ...]


@dataclass(frozen=True)
class Lines:
    """A plot of curves on logarithmic axes."""

    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scatter:
    """A plot of named points (label, x, y), with a logarithmic x axis."""

    caption: str
    x_label: str
    y_label: str
    points: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Bars:
    """A plot of stacked horizontal bars, one for each row (label, shares of 1 by class)."""

    caption: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Forest:
    """A plot of ratios with intervals: rows of (label, low, estimate, high, noise, verdict)."""

    caption: str
    baseline: str
    rows: tuple[tuple[str, float, float, float, float, str], ...]


Plot = Lines | Scatter | Bars | Forest


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of a case in order, milliseconds per prediction.

    Attributes:
        anchor: Anchor in the report.
        title: The case in words.
        source: Id of the case, and the file.
        facts: Other facts, in sentences.
        count: Number of all samples.
        rounds: Listed samples round by round: all, or the lowest, median and highest of each round.
        shown: Description of ``rounds``.
        points: Drawn samples: (index among all, milliseconds, whether it is an outlier).
        starts: Indices at which rounds start.
        median: Median of all samples.
    """

    anchor: str
    title: str
    source: str
    facts: tuple[str, ...]
    count: int
    rounds: tuple[tuple[float, ...], ...]
    shown: str
    points: tuple[tuple[int, float, bool], ...]
    starts: tuple[int, ...]
    median: float


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section: a heading, paragraphs, tables and plots."""

    anchor: str
    title: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The conclusion on a setting, in a few sentences."""

    title: str
    anchor: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """The whole report.

    Attributes:
        title: Title of the report.
        subtitle: Machines and dates.
        warnings: Warnings to show first.
        answers: Conclusions, one for each setting.
        reading: Explanation of the figures.
        sections: Sections in order.
        samples: Samples of all cases.
        figures: All cases with all figures, one per row; the CSV is this table.
    """

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    reading: str
    sections: tuple[Section, ...]
    samples: tuple[Samples, ...]
    figures: Table = field(repr=False)

    def to_dict(self) -> dict[str, object]:
        """The report as plain JSON values."""
        document: dict[str, object] = finite(asdict(self))
        return document


class Notes:
    """The distinct notes of a table."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def refer(self, texts: Iterable[str]) -> tuple[int, ...]:
        """The indices of texts; new texts are added."""
        return tuple(self._texts.setdefault(text, len(self._texts)) for text in texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """All notes in order."""
        return tuple(self._texts)


def letter(index: int) -> str:
    """The mark of a note: a, b, ..., z, aa."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def without_empty(table: Table, keep: Sequence[str] = ()) -> Table:
    """The table without columns that have no value in any row, except for the keys of ``keep``."""
    columns = [
        index
        for index, column in enumerate(table.columns)
        if column.key in keep or any(row.cells[index].value is not None for row in table.rows)
    ]
    return select_columns(table, columns)


def select_columns(table: Table, indices: Sequence[int]) -> Table:
    """The table with only the columns at some indices."""
    rows = tuple(Row(tuple(row.cells[index] for index in indices), row.begins, row.sign) for row in table.rows)
    return Table(table.caption, tuple(table.columns[index] for index in indices), rows, table.notes)
