"""The CSV writer: one case per row, with unrounded figures, and its samples in the last column."""

from __future__ import annotations

import csv
import io

from latency.report.view import LatencyReport, Value

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of formulas in spreadsheets."""


def write(report: LatencyReport) -> str:
    """Write the figures under the columns' keys; unknown values are empty."""
    samples = {each.anchor: each for each in report.samples}
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*(column.key for column in report.figures.columns), "samples_shown", "samples_ms"])
    for row in report.figures.rows:
        targets = [cell.target for cell in row.cells if cell.target in samples]
        own = samples[targets[0]] if targets else None
        rounds = "; ".join(" ".join(f"{sample:.6g}" for sample in each) for each in own.rounds) if own else ""
        shown = own.shown if own else ""
        writer.writerow([*(_safe(cell.value) for cell in row.cells), shown, rounds])
    return buffer.getvalue()


def _safe(value: Value) -> Value:
    """Quote text that a spreadsheet would evaluate as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
