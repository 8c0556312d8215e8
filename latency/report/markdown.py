"""The Markdown writer, for a pull request or a wiki: text and tables without plots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from latency.report import formatting
from latency.report.view import Cell, Column, LatencyReport, Samples, Section, Table, letter

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$@])")
_BREAKS = re.compile(r"\s+")


def write(report: LatencyReport) -> str:
    """Write the document."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def plain(text: str) -> str:
    """Escape all markup in a text."""
    return _SPECIAL.sub(r"\\\1", _escape_html(text))


def _escape_html(text: str) -> str:
    return escape(_BREAKS.sub(" ", text), quote=False)


def _lines(report: LatencyReport) -> Iterator[str]:
    yield f"# {plain(report.title)}\n\n{plain(report.subtitle)}\n"
    for warning in report.warnings:
        yield f"> **{plain(warning)}**\n"
    for answer in report.answers:
        yield f"- **{plain(answer.title)}.** {' '.join(plain(sentence) for sentence in answer.sentences)}"
    yield f"\n{plain(report.reading)}"
    for section in report.sections:
        yield from _section(section)
    yield "\n## Samples\n\nMilliseconds per prediction in order, one round per line.\n"
    for samples in report.samples:
        yield from _samples(samples)


def _section(section: Section) -> Iterator[str]:
    yield f"\n## {plain(section.title)}\n"
    for paragraph in section.words:
        yield f"{plain(paragraph)}\n"
    for table in section.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f"*{plain(table.caption)}*\n"
    yield _row(_heading(column) for column in table.columns)
    yield _row("---:" if column.numeric else "---" for column in table.columns)
    for row in table.rows:
        yield _row(_cell(cell) for cell in row.cells)
    yield ""
    for index, note in enumerate(table.notes):
        yield f"- ({letter(index)}) {plain(note)}"
    yield ""


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _heading(column: Column) -> str:
    return plain(f"{column.title}, {column.unit}" if column.unit else column.title)


def _cell(cell: Cell) -> str:
    marks = ", ".join(letter(note) for note in cell.notes)
    return f"{plain(cell.text)} ({marks})" if marks else plain(cell.text)


def _samples(samples: Samples) -> Iterator[str]:
    yield f"<details><summary>{_escape_html(samples.title)}: {samples.count} samples</summary>\n"
    yield f"{plain(samples.source)}\n"
    yield f"{plain(' '.join(samples.facts))} Here: {samples.shown}.\n"
    yield "```"
    for round_ in samples.rounds:
        yield " ".join(formatting.number(sample) for sample in round_)
    yield "```\n\n</details>\n"
