"""``evim-deploy verify``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evim_deploy.artifact import SCHEMA_VERSION, UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.parity import show_parity
from evim_deploy.errors import BadInput, EvimError, NotInstalled, NotRunHere, ParityFailed
from evim_deploy.parity.result import FAIL, NOT_RUN

if TYPE_CHECKING:
    from evim_deploy.verify import Verdict

_GRAVEST_FIRST = [kind.exit_code for kind in (ParityFailed, BadInput, NotInstalled, NotRunHere)]
"""How the command ends where several artifacts have several problems."""


class Mode(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    ane = "ane"


class ComputeUnits(StrEnum):
    all = "all"
    cpu = "cpuOnly"
    gpu = "cpuAndGPU"
    neural_engine = "cpuAndNeuralEngine"


def verify(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Made by `evim-deploy export`.")],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="PATH|hf:REPO[/FILE]|timm:NAME|random[:SEED]",
            show_default="what the artifact was made from",
        ),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures to compare over, besides the standard ones.")
    ] = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            help="How it computes: fp32, fp16 as stored, or ane, a pessimistic Neural Engine.",
            show_default="as the engine of this host",
        ),
    ] = None,
    compute_units: Annotated[ComputeUnits | None, typer.Option(help="Core ML's, on a Mac.", show_default="all")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Find the first operation that diverges; plot the error over depth.")
    ] = False,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where the plots go.")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace plots of the same names.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Prove that artifacts equal the model that they were made from, and say what the proof would catch."""
    from evim_deploy.verify import Verifier

    verdicts: list[Verdict] = []
    entries: list[dict[str, Any]] = []
    problems: list[EvimError] = []
    with reporting(SETTINGS) as reporter:
        units = compute_units.value if compute_units else None
        verifier = Verifier(weights, inputs, mode.value if mode else None, units, reporter)
        for artifact in artifacts:
            try:
                verdict = verifier.verify(artifact)
            except EvimError as error:
                entries.append({"path": str(artifact), "error": error.document()})
                problems.append(error)
                continue
            verdicts.append(verdict)
            entries.append(verdict.document())
            problems += _problems(verdict)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": entries})
    else:
        for verdict in verdicts:
            _show(verdict)
    for problem in problems:
        sys.stderr.write(f"Error: {problem}\n")
    if problems:
        raise typer.Exit(min((problem.exit_code for problem in problems), key=_GRAVEST_FIRST.index))


def _problems(verdict: Verdict) -> list[EvimError]:
    """What a verdict comes to, as the error that ends the command."""
    reason = verdict.parity.reason
    if verdict.parity.status == FAIL:
        cause = f"{verdict.artifact} does not equal the model that it was made from: {reason}."
        return [ParityFailed(cause, "Say --layers to find the operation, or export it again.")]
    if verdict.parity.status == NOT_RUN:
        return [NotRunHere(f"{verdict.artifact} cannot be verified: {reason}.", "Verify it where its engine runs.")]
    return []


def _show(verdict: Verdict) -> None:
    console = out()
    weights = verdict.manifest.weights
    console.print(str(verdict.artifact), style="bold", soft_wrap=True, markup=False)
    facts = f"{verdict.manifest.model.name}, {verdict.manifest.target}, made from {weights.source}"
    console.print(f"  {facts}, sha256 {weights.sha256[:12]}: the same here", soft_wrap=True, markup=False)
    show_parity(console, verdict.parity.document())
    if not weights.trained:
        console.print(f"  {UNTRAINED_NOTICE}", style="bold yellow", soft_wrap=True, markup=False)
