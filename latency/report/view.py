"""What a report shows, as plain values: the writers of HTML, Markdown and CSV have nothing else to write from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evim_deploy.common.json_documents import finite

Value = float | int | str | None


@dataclass(frozen=True)
class Cell:
    """One place in a table.

    Attributes:
        text: For people.
        value: For machines, unrounded, in the column's unit; None where there is none.
        sign: What kind of statement it is, for colours beside the words: ``good``, ``bad``, ``unsure``, ``muted``.
        notes: Places in the table's notes.
        target: The samples that it was computed from.
    """

    text: str
    value: Value = None
    sign: str = ""
    notes: tuple[int, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class Column:
    """What stands in one place of every row.

    Attributes:
        key: Its name for machines, the unit at its end.
        title: Its name for people.
        unit: Of the values; empty for words.
        numeric: Whether it holds numbers.
        paper: Whether the figures are the paper's, not measured here.
    """

    key: str
    title: str
    unit: str = ""
    numeric: bool = True
    paper: bool = False


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; the first names the row.

    Attributes:
        begins: Whether another group begins here, with which no ratio is shared.
        sign: ``missing`` for what was not measured, ``baseline`` for what the others are held against.
    """

    cells: tuple[Cell, ...]
    begins: bool = False
    sign: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under columns, what is true of all of them as the caption, and notes that cells refer to."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One line of a plot: points in the order of x; ``hollow`` are those that are to be told apart."""

    label: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    hollow: tuple[bool, ...]


@dataclass(frozen=True)
class Lines:
    """Curves on logarithmic axes."""

    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scatter:
    """Named points (label, x, y), x on a logarithmic axis."""

    caption: str
    x_label: str
    y_label: str
    points: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Bars:
    """Shares of 1 that rows are made of, one under another."""

    caption: str
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Forest:
    """Ratios with intervals (label, low, estimate, high, noise, verdict); nearer to 1 than the noise is equal."""

    caption: str
    baseline: str
    rows: tuple[tuple[str, float, float, float, float, str], ...]


Plot = Lines | Scatter | Bars | Forest


@dataclass(frozen=True)
class Samples:
    """The samples of one contender in order, milliseconds of a prediction.

    Attributes:
        anchor: Where cells point.
        title: The contender in words.
        source: Its id and the file that it is in.
        facts: What is known of it besides.
        count: Of all samples.
        rounds: What is shown of them, round by round: all, or the lowest, median and highest of each round.
        shown: What ``rounds`` holds, in words.
        points: What is drawn: (place among all, milliseconds, whether it is an outlier).
        starts: Places at which rounds begin.
        median: Of all.
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


@dataclass(frozen=True)
class Section:
    """A heading, words, and tables and plots in order."""

    anchor: str
    title: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a setting comes to, in a sentence or a few."""

    title: str
    anchor: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a report says.

    Attributes:
        warnings: What a reader must know first.
        reading: How its figures are to be read.
        figures: Every contender with every figure, one a row; CSV is this table.
    """

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    reading: str
    sections: tuple[Section, ...]
    samples: tuple[Samples, ...]
    figures: Table = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; each plot and table says what it is made of."""
        document: dict[str, Any] = finite(asdict(self))
        return document


class Notes:
    """Notes of a table, each kept once."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def refer(self, texts: Iterable[str]) -> tuple[int, ...]:
        """The places of texts, which are added where they are new."""
        return tuple(self._texts.setdefault(text, len(self._texts)) for text in texts)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._texts)


def letter(place: int) -> str:
    """A note's mark: a, b, ..., z, aa."""
    return (letter(place // 26 - 1) if place >= 26 else "") + chr(ord("a") + place % 26)


def without_empty(table: Table, keep: Sequence[str] = ()) -> Table:
    """The table without the columns in which no row has a value, but for those of some keys."""
    kept = [
        place
        for place, column in enumerate(table.columns)
        if column.key in keep or any(row.cells[place].value is not None for row in table.rows)
    ]
    rows = tuple(Row(tuple(row.cells[place] for place in kept), row.begins, row.sign) for row in table.rows)
    return Table(table.caption, tuple(table.columns[place] for place in kept), rows, table.notes)
