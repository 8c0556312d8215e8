"""How an artifact beside its reference, operation by operation, is shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from evim_deploy.layers import Layer, LayerReport

_BEFORE, _AFTER = 3, 2
"""Operations around the first that diverges."""

_WORST = 5
"""Operations of a sound artifact."""


def show_layers(console: Console, report: LayerReport) -> None:
    """Print the stages, then the operations around the first divergence, or the worst ones, and what it comes to."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if report.layers:
        stages = Table("stage", "error against the model", box=None, pad_edge=False, padding=(0, 2))
        for stage in report.stages:
            error = "not in the file" if stage.error is None else f"{stage.error:.1e}"
            stages.add_row(Text(stage.name), error)
        for table in (stages, _operations(_chosen(report))):
            console.print(Padding(table, (0, 0, 1, 2)))
    style = {"pass": "green", "incomplete": "yellow", "not_run": "yellow"}.get(report.status, "bold red")
    console.print(f"  {report}", style=style, soft_wrap=True, markup=False)


def _chosen(report: LayerReport) -> Sequence[Layer]:
    if report.first is None:
        return sorted(report.layers, key=lambda layer: layer.excess, reverse=True)[:_WORST]
    at = report.layers.index(report.first)
    return report.layers[max(0, at - _BEFORE) : at + _AFTER + 1]


def _operations(layers: Sequence[Layer]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("operation", overflow="fold")
    for title in ("kind", "in the file"):
        table.add_column(title)
    for title in ("cumulative", "by itself", "explained"):
        table.add_column(title, justify="right")
    for layer in layers:
        numbers = (f"{number:.1e}" for number in (layer.cumulative, layer.local, layer.bound))
        style = "bold red" if layer.diverges else ""
        table.add_row(Text(layer.name), layer.op, Text(layer.type), *numbers, style=style)
    return table
