"""``evim-deploy verify``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.artifact.target import SCHEMA_VERSION, UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.layers import show_layers
from evim_deploy.cli.parity import show_proof
from evim_deploy.cli.problems import end_with
from evim_deploy.common.errors import UsageProblem

if TYPE_CHECKING:
    from evim_deploy.commands.verify import VerifyResult


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
            help="How it computes: fp32, fp16 as it is stored, or ane, a pessimistic Neural Engine.",
            show_default="as the engine of this host",
        ),
    ] = None,
    compute_units: Annotated[ComputeUnits | None, typer.Option(help="Core ML's, on a Mac.", show_default="all")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make it again from its weights, and compare the two byte by byte.")
    ] = False,
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
    from evim_deploy.commands.verify import Verifier

    if mode and compute_units:
        cause = "--mode evaluates the program and --compute-units runs it in Core ML."
        raise UsageProblem(cause, "Give one of them.")
    with reporting(SETTINGS) as reporter:
        units = compute_units.value if compute_units else None
        verifier = Verifier(
            weights=weights,
            inputs=inputs,
            mode=mode.value if mode else None,
            compute_units=units,
            rebuilds=rebuild,
            progress=reporter,
        )
        results = [verifier.check(artifact, output_dir if layers else None, overwrite) for artifact in artifacts]
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": [result.to_dict() for result in results]})
    else:
        for result in results:
            _show(result)
    end_with([result.problem for result in results if result.problem])


def _show(result: VerifyResult) -> None:
    console = out()
    if result.verification is None:
        return
    manifest = result.verification.manifest
    console.print(str(result.artifact), style="bold", soft_wrap=True, markup=False)
    facts = f"{manifest.model.name}, {manifest.target}, made from {manifest.weights.source}"
    console.print(f"  {facts}, sha256 {manifest.weights.sha256[:12]}: the same here", soft_wrap=True, markup=False)
    show_proof(console, result.verification.to_dict())
    if result.verification.rebuild is not None:
        console.print(f"  made again: {result.verification.rebuild}", soft_wrap=True, markup=False)
    if result.layers is not None:
        console.print()
        show_layers(console, result.layers)
        console.print(f"  plot: {result.plot}", soft_wrap=True, markup=False)
    if not manifest.weights.trained:
        console.print(f"  {UNTRAINED_NOTICE}", style="bold yellow", soft_wrap=True, markup=False)
