"""The report's figures as CSV: a contender a row, figures unrounded, its samples in the last column."""

from __future__ import annotations

import csv
import io

from latency.report.view import Report, Value

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def write(report: Report) -> str:
    """The rows, under a head of the columns' keys; what is not known is empty."""
    samples = {found.anchor: found for found in report.samples}
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*(column.key for column in report.figures.columns), "samples_shown", "samples_ms"])
    for row in report.figures.rows:
        targets = [cell.target for cell in row.cells if cell.target in samples]
        found = samples[targets[0]] if targets else None
        rounds = "; ".join(" ".join(f"{sample:.6g}" for sample in each) for each in found.rounds) if found else ""
        shown = found.shown if found else ""
        writer.writerow([*(_safe(cell.value) for cell in row.cells), shown, rounds])
    return buffer.getvalue()


def _safe(value: Value) -> Value:
    """Words that a spreadsheet would compute, as words."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
