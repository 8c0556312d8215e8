"""``evim-deploy report``."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.common.errors import UsageProblem
from evim_deploy.common.publish import refuse_overwrite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from latency.report.view import LatencyReport, Table
    from latency.results import Results

_STYLES = {"good": "green", "bad": "red", "unsure": "yellow", "muted": "dim"}
_LEFT_OUT = ("p90_ms", "images_per_s", "evaluated_images", "answer_error")
"""Columns that do not fit on a terminal."""

_LEAST_WIDTH = 8
_GAP = 2
"""Characters between columns."""


def report(
    results: options.Results = None,
    output: options.ReportFile = None,
    baseline: options.Baseline = None,
    artifacts: options.Manifests = None,
    accuracy: options.Accuracies = None,
    import_: options.Imports = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show results files: tables with ratios and intervals, the paper's figures, plots and samples."""
    from latency.installed import require_reporting

    require_reporting()

    from latency.report.build import build
    from latency.report.evidence import read_evidence
    from latency.report.writing import write_report
    from latency.results import read_results

    paths = [*(results or ()), *(import_ or ())]
    if not paths:
        raise UsageProblem("No results file was given.", "Name results files, or a phone's with --import.")
    if output is not None:
        refuse_overwrite([output], overwrite)
    with reporting(SETTINGS) as reporter:
        files: list[Results] = []
        for path in paths:
            reporter.step(f"Reading {path}")
            files.append(read_results(path))
        evidence = read_evidence(artifacts or (), accuracy or ())
        if output is not None:
            reporter.step(f"Writing {output}")
            write_report(files, output, baseline=baseline, evidence=evidence, overwrite=overwrite)
        view = build(files, baseline, evidence) if json or output is None else None
    if json and view is not None:
        written = {"path": str(output)} if output else {}
        print_json({"schema_version": SCHEMA_VERSION, **written, **view.to_dict()})
    elif view is not None:
        show(view)
    elif output is not None:
        out().print(str(output), style="bold", soft_wrap=True, markup=False)


def show(view: LatencyReport) -> None:
    """Print the tables of a report for people."""
    console = out()

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, soft_wrap=True, markup=False)

    for warning in view.warnings:
        line(warning, "bold yellow")
    for answer in view.answers:
        line(answer.title, "bold")
        for sentence in answer.sentences:
            line(f"  {sentence}")
    for section in view.sections:
        console.print()
        line(section.title, "bold")
        for paragraph in section.words:
            line(paragraph)
        for table in section.tables:
            if table.rows:
                console.print()
                _show_table(console, table)
    console.print()
    line("The samples are in the results files; `-o report.html` draws them.", "dim")


def _show_table(console: Console, table: Table) -> None:
    """Print a table; if it is wider than the terminal, in parts that each repeat the first column."""
    from rich.table import Table as Drawn
    from rich.text import Text

    from latency.report.view import letter

    shown = [index for index, column in enumerate(table.columns) if column.key not in _LEFT_OUT]
    heads = {index: _head(table, index) for index in shown}
    cells = {
        index: [
            Text(" ".join([cell.text, *map(letter, cell.notes)]), _STYLES.get(cell.sign, ""))
            for cell in (row.cells[index] for row in table.rows)
        ]
        for index in shown
    }
    widths = {index: max(text.cell_len for text in [*heads[index].split(), *cells[index]]) for index in shown}
    console.print(table.caption, style="italic", soft_wrap=True, markup=False)
    for number, part in enumerate(_parts(widths, console.width)):
        drawn = Drawn(box=None, pad_edge=False)
        for index in part:
            justify: Literal["left", "right"] = "right" if table.columns[index].numeric else "left"
            drawn.add_column(heads[index], justify=justify, vertical="bottom", no_wrap=True)
        for row in range(len(table.rows)):
            drawn.add_row(*(cells[index][row] for index in part))
        if number:
            console.print()
        console.print(drawn)
    for index, note in enumerate(table.notes):
        console.print(f"  {letter(index)}: {note}", style="dim", soft_wrap=True, markup=False)


def _head(table: Table, index: int) -> Text:
    """A column's title and unit, wrapped to about the width of its cells."""
    from rich.text import Text

    column = table.columns[index]
    width = max(_LEAST_WIDTH, *(len(row.cells[index].text) for row in table.rows))
    lines = [line for part in (column.title, column.unit) for line in wrap(part, width, break_long_words=False)]
    return Text("\n".join(lines))


def _parts(widths: dict[int, int], room: int) -> Iterator[list[int]]:
    """The columns in order, split into parts that fit the width; each part begins with the first column."""
    first, *others = widths
    part = [first]
    for index in others:
        if len(part) > 1 and sum(widths[each] + _GAP for each in part) + widths[index] > room:
            yield part
            part = [first]
        part.append(index)
    yield part
