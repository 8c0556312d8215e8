"""``evim-deploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.layers import show_layers
from evim_deploy.cli.parity import show_proof
from evim_deploy.cli.problems import end_with
from evim_deploy.common.errors import UsageProblem

if TYPE_CHECKING:
    from evim_deploy.commands.verify import VerifyResult


def verify(
    artifacts: options.Artifacts,
    weights: options.OriginWeights = None,
    inputs: options.Inputs = None,
    mode: options.VerifyMode = None,
    compute_units: options.Units = None,
    rebuild: options.Rebuild = False,
    layers: options.Layers = False,
    output_dir: options.PlotFolder = Path(),
    overwrite: options.OverwriteAll = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Prove that artifacts equal their source model, and print the sensitivity of the proof."""
    from evim_deploy.commands.verify import Verifier

    if mode and compute_units:
        raise UsageProblem("--mode and --compute-units exclude each other.", "Give one of them.")
    with reporting(SETTINGS) as reporter:
        verifier = Verifier(
            weights=weights,
            inputs=inputs,
            mode=mode,
            compute_units=compute_units,
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
    title = f"{manifest.model.name}, {manifest.target}, made from {manifest.weights.source}"
    console.print(f"  {title}, sha256 {manifest.weights.sha256[:12]}: the same here", soft_wrap=True, markup=False)
    show_proof(console, result.verification.to_dict())
    if result.verification.rebuild is not None:
        console.print(f"  rebuild: {result.verification.rebuild}", soft_wrap=True, markup=False)
    if result.layers is not None:
        console.print()
        show_layers(console, result.layers)
        console.print(f"  plot: {result.plot}", soft_wrap=True, markup=False)
    if not manifest.weights.trained:
        console.print(f"  {UNTRAINED_NOTICE}", style="bold yellow", soft_wrap=True, markup=False)
