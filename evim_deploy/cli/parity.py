"""Tables of a proof, for several commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from evim_deploy.artifact.parity import ParityStatus
from evim_deploy.cli.console import Document

if TYPE_CHECKING:
    from rich.console import Console

_UNIT = "Errors are in units of the range of the output, for the input with the largest range."
_COLUMNS = ("  comparison", "run by", "against", "error", "allowed", "mean", "allowed", "SNR", "top-1", "worst input")


def show_proof(console: Console, document: Document) -> None:
    """Print the proof of an artifact, or of each of its functions, from its document."""
    if not document["functions"]:
        show_parity(console, document["parity"])
        return
    console.print(f"  {next(_lines(document['parity']))}", soft_wrap=True, markup=False)
    for function in document["functions"]:
        console.print(f"  function {function['name']}", style="bold", soft_wrap=True, markup=False)
        show_parity(console, function["parity"])


def show_parity(console: Console, parity: Document) -> None:
    """Print the status, the sensitivity of the check and each comparison, from the proof's document."""
    from rich.table import Table

    for line in _lines(parity):
        console.print(f"  {line}", soft_wrap=True, markup=False)
    if parity["comparisons"]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in _COLUMNS:
            table.add_column(column, no_wrap=True)
        for comparison in parity["comparisons"]:
            table.add_row(*_cells(comparison))
        console.print(table, soft_wrap=True)
        console.print(f"  {_UNIT}", style="dim", soft_wrap=True)


def _lines(parity: Document) -> Iterator[str]:
    if parity["status"] == ParityStatus.NOT_RUN:
        yield f"parity not run: {parity['reason'].removeprefix('not run on this host: ')}"
        return
    yield ": ".join(filter(None, (f"parity {parity['status'].upper()}", parity["reason"])))
    sensitivity = parity["power"]
    if sensitivity is not None:
        least = sensitivity["everywhere"]
        yield sensitivity["summary"] + (f", and a {100 * least:.1f} % one in all of them" if least is not None else "")
    if parity["stored"]:
        yield parity["stored"]["summary"]
    if parity["operations"]:
        yield parity["operations"]["summary"]
    if parity["comparisons"]:
        last = parity["comparisons"][-1]
        yield f"over {len(last['inputs'])} inputs: {', '.join(last['inputs'])}"
        for kind, total in last["anomalies"].items():
            yield f"float16: {kind} values in {total['operations']} operations, the first {total['first']}"


def _cells(comparison: Document) -> list[str]:
    measures = comparison["measures"]

    def cell(value: float | None, form: str, otherwise: str) -> str:
        return otherwise if value is None else format(value, form)

    return [
        f"  {comparison['subject']}",
        f"{comparison['engine']} {comparison['mode']}",
        comparison["reference"],
        cell(measures["max_abs"], ".1e", "not finite"),
        format(comparison["tolerance"]["max_abs"], ".0e"),
        cell(measures["mean_abs"], ".1e", "not finite"),
        format(comparison["tolerance"]["mean_abs"], ".0e"),
        cell(measures["snr_db"], ".0f", "-") + " dB",
        cell(measures["top1"], ".0%", "-"),
        measures["worst"]["input"],
    ]
