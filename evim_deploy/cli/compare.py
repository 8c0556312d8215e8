"""``evim-deploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting

if TYPE_CHECKING:
    from latency.compare import RunComparison

SLOWER_EXIT_CODE = 1
_WORDS = ("case", "A", "B", "verdict")


def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="Results of `evim-deploy bench -o`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Results of the same command, later or changed.")],
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two runs: exit code 1 if B is slower than A beyond the noise. Suspect figures decide nothing."""
    from latency.installed import require_reporting

    require_reporting()

    from latency.compare import compare as differences
    from latency.decision import Verdict
    from latency.results import read_results

    with reporting(SETTINGS):
        compared = differences(read_results(first), read_results(second))
    slower = [comparison for comparison in compared if comparison.verdict == Verdict.SLOWER]
    if json:
        documents = [_document(comparison) for comparison in compared]
        print_json({"schema_version": SCHEMA_VERSION, "slower": bool(slower), "contenders": documents})
    else:
        _show(compared)
    if slower:
        raise typer.Exit(SLOWER_EXIT_CODE)


def _show(compared: list[RunComparison]) -> None:
    from rich.table import Table

    from latency.decision import format_noise

    console = out()
    table = Table(box=None, pad_edge=False)
    for heading in ("case", "B / A", "95 % interval", "noise", "machine", "A", "B", "verdict"):
        table.add_column(heading, justify="left" if heading in _WORDS else "right", overflow="fold")
    for each in compared:
        interval = each.interval
        table.add_row(
            each.second.id,
            f"{interval.estimate:.3f}" if interval else "-",
            f"{interval.low:.3f} to {interval.high:.3f}" if interval else "too few rounds",
            format_noise(each.noise),
            f"{each.machine:.3f}" if each.machine else "-",
            *each.statuses,
            each.verdict,
        )
    console.print(table)
    undecided: dict[str, list[str]] = {}
    for each in compared:
        undecided.setdefault("; ".join(_reasons(each)), []).append(each.second.id)
    for reasons, cases in undecided.items():
        if reasons:
            console.print(f"Undecided: {reasons}", soft_wrap=True, markup=False)
            for case in cases:
                console.print(f"  {case}", soft_wrap=True, markup=False)
    console.print(
        "B / A: ratio of the times, in units of the calibration workload's time if both runs have one.\n"
        "noise: the difference from 1 that the whole interval must exceed.\n"
        "machine: ratio of the calibration workload's times; A, B: validity of each figure.",
        style="dim",
    )


def _reasons(comparison: RunComparison) -> list[str]:
    """The reasons for an undecided comparison, and for suspect figures; empty if it is decided."""
    if not comparison.decision.reason:
        return []
    figures = zip("AB", comparison.judgements, strict=True)
    return [comparison.decision.reason, *(f"{run}: {reason}" for run, figure in figures for reason in figure.reasons)]


def _document(comparison: RunComparison) -> dict[str, object]:
    interval = comparison.interval
    return {
        "id": comparison.second.id,
        "ratio": interval and {"estimate": interval.estimate, "low": interval.low, "high": interval.high},
        "noise": comparison.noise,
        "machine": comparison.machine,
        "statuses": comparison.statuses,
        "verdict": comparison.verdict,
        "reasons": _reasons(comparison),
    }
