"""``evim-deploy compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.artifact.target import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting

if TYPE_CHECKING:
    from latency.compare import Difference

SLOWER_EXIT_CODE = 1
_WORDS = ("contender", "A", "B", "verdict")


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
    from latency.judgement import SLOWER
    from latency.results import read_results

    with reporting(SETTINGS):
        compared = differences(read_results(first), read_results(second))
    slower = [difference for difference in compared if difference.verdict == SLOWER]
    if json:
        documents = [_document(difference) for difference in compared]
        print_json({"schema_version": SCHEMA_VERSION, "slower": bool(slower), "contenders": documents})
    else:
        _show(compared)
    if slower:
        raise typer.Exit(SLOWER_EXIT_CODE)


def _show(compared: list[Difference]) -> None:
    from rich.table import Table

    from latency.judgement import noise_in_words

    console = out()
    table = Table(box=None, pad_edge=False)
    for heading in ("contender", "B / A", "95 % interval", "noise", "machine", "A", "B", "verdict"):
        table.add_column(heading, justify="left" if heading in _WORDS else "right", overflow="fold")
    for each in compared:
        interval = each.interval
        table.add_row(
            each.second.id,
            f"{interval.estimate:.3f}" if interval else "-",
            f"{interval.low:.3f} to {interval.high:.3f}" if interval else "too few rounds",
            noise_in_words(each.noise),
            f"{each.machine:.3f}" if each.machine else "-",
            *each.statuses,
            each.verdict,
        )
    console.print(table)
    undecided: dict[str, list[str]] = {}
    for each in compared:
        undecided.setdefault("; ".join(_reasons(each)), []).append(each.second.id)
    for reasons, contenders in undecided.items():
        if reasons:
            console.print(f"Undecided: {reasons}", soft_wrap=True, markup=False)
            for contender in contenders:
                console.print(f"  {contender}", soft_wrap=True, markup=False)
    console.print(
        "B / A: the ratio of the times, each divided by the run's calibration time if it has one.\n"
        "noise: the least distance of the whole interval from 1.\n"
        "machine: the ratio of the calibration times; A, B: the reliability of each figure.",
        style="dim",
    )


def _reasons(difference: Difference) -> list[str]:
    """The reasons for an undecided comparison, and for suspect figures; empty if it is decided."""
    if not difference.decision.reason:
        return []
    figures = zip("AB", difference.judgements, strict=True)
    return [difference.decision.reason, *(f"{run}: {reason}" for run, figure in figures for reason in figure.reasons)]


def _document(difference: Difference) -> dict[str, object]:
    interval = difference.interval
    return {
        "id": difference.second.id,
        "ratio": interval and {"estimate": interval.estimate, "low": interval.low, "high": interval.high},
        "noise": difference.noise,
        "machine": difference.machine,
        "statuses": difference.statuses,
        "verdict": difference.verdict,
        "reasons": _reasons(difference),
    }
