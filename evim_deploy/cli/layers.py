"""Tables of the comparison of an artifact with its reference, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from evim_deploy.proof.operations.report import OpReport, OpsReport

_BEFORE, _AFTER = 3, 2
"""Number of operations shown before and after the first that diverges."""

_WORST = 5
"""Number of operations shown if none diverges."""


def show_layers(console: Console, report: OpsReport) -> None:
    """Print the stages, the operations around the first divergence or else the worst ones, and the summary.

    In a quantised artifact without a divergence the worst operations are those that cost its outputs most.
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if report.ops:
        stages = Table("stage", "error against the model", box=None, pad_edge=False, padding=(0, 2))
        for stage in report.stages:
            error = "not in the file" if stage.error is None else f"{stage.error:.1e}"
            stages.add_row(Text(stage.name), error)
        for table in (stages, _operations(_chosen(report), _LOSSES if _is_lossy(report) else _ERRORS)):
            console.print(Padding(table, (0, 0, 1, 2)))
    style = {"pass": "green", "incomplete": "yellow", "not_run": "yellow"}.get(report.status, "bold red")
    console.print(f"  {report}", style=style, soft_wrap=True, markup=False)


def _is_lossy(report: OpsReport) -> bool:
    return report.first is None and report.costliest is not None


def _chosen(report: OpsReport) -> Sequence[OpReport]:
    if _is_lossy(report):
        return sorted(report.ops, key=_cost)[:_WORST]
    if report.first is None:
        return sorted(report.ops, key=lambda layer: layer.excess, reverse=True)[:_WORST]
    at = report.ops.index(report.first)
    return report.ops[max(0, at - _BEFORE) : at + _AFTER + 1]


def _cost(layer: OpReport) -> float:
    return inf if layer.cost_db is None else layer.cost_db


_ERRORS: Mapping[str, Callable[[OpReport], str]] = {
    "cumulative": lambda layer: f"{layer.cumulative:.1e}",
    "by itself": lambda layer: f"{layer.local:.1e}",
    "explained": lambda layer: f"{layer.bound:.1e}",
}

_LOSSES: Mapping[str, Callable[[OpReport], str]] = {
    "SNR": lambda layer: f"{layer.snr_db:.0f} dB",
    "by itself": lambda layer: f"{layer.own_snr_db:.0f} dB",
    "outputs by it alone": lambda layer: f"{_cost(layer):.0f} dB",
}
"""Signal to noise of the value, of its layer's own error, and of the outputs if only that layer is quantised."""


def _operations(layers: Sequence[OpReport], columns: Mapping[str, Callable[[OpReport], str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("operation", overflow="fold")
    for title in ("kind", "in the file"):
        table.add_column(title)
    for title in columns:
        table.add_column(title, justify="right")
    for layer in layers:
        numbers = (cell(layer) for cell in columns.values())
        style = "bold red" if layer.diverges else ""
        table.add_row(Text(layer.name), layer.op, Text(layer.type), *numbers, style=style)
    return table
