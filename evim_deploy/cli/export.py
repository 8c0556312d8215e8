"""``evim-deploy export``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.catalog.terms import Task
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, Document, out, print_json, reporting
from evim_deploy.cli.parity import show_proof
from evim_deploy.cli.parsing import parse_batch, parse_normalisation, parse_size
from evim_deploy.cli.quantisation import quantisation_lines

if TYPE_CHECKING:
    from evim_deploy.commands.request import Request


def export(
    model: options.Model,
    format_: options.Formats = ["coreml"],  # noqa: B006, typer copies it
    precision: options.Precisions = None,
    resolution: options.Resolutions = None,
    batch: options.Batch = "1",
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    labels: options.Labels = None,
    task: options.Task = Task.CLASSIFY,
    output: options.Output = None,
    no_preprocess: options.NoPreprocess = False,
    mean: options.Mean = None,
    std: options.Std = None,
    opset: options.Opset = None,
    half_io: options.HalfIo = False,
    deployment_target: options.Deployment = None,
    multifunction: options.Multifunction = False,
    calibration: options.Calibration = None,
    keep_accuracy: options.KeepAccuracy = None,
    output_dir: options.ArtifactFolder = Path(),
    golden: options.Golden = False,
    overwrite: options.OverwriteAll = False,
    verify: options.Verify = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Export a model: rewrite it for inference, write artifacts, and compare them with the source model."""
    from evim_deploy.commands.request import Request
    from evim_deploy.networks.open import parse_source
    from exporters import parse_format, parse_precision

    request = Request(
        model=parse_source(model, parse_normalisation(mean, std)),
        formats=tuple(parse_format(name).name for name in format_),
        precisions=tuple(parse_precision(text) for text in precision or ()),
        sizes=tuple(parse_size(text) for text in resolution or ()),
        batch=parse_batch(batch),
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        task=task,
        output=output,
        preprocess=not no_preprocess,
        opset=opset,
        half_io=half_io,
        deployment_target=deployment_target,
        multifunction=multifunction,
        calibration=calibration,
        allowed_loss=keep_accuracy,
        output_dir=output_dir,
        overwrite=overwrite,
        golden=golden,
        verify=verify,
    )
    _run(request, json)


def _run(request: Request, json: bool) -> None:
    from evim_deploy.commands.export import export as make

    with reporting(SETTINGS) as reporter:
        artifacts = make(request, reporter)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": artifacts})
    else:
        _show(artifacts)


def _show(artifacts: Sequence[Document]) -> None:
    console = out()
    for artifact in artifacts:
        structure = artifact["structure"]
        console.print(artifact["path"], style="bold", soft_wrap=True, markup=False)
        size = artifact["size_bytes"] / 1e6
        operations = sum(structure["operations"].values())
        lines = [
            f"{artifact['format']} {artifact['precision']}, {size:.1f} MB, {operations} operations, "
            f"{structure['transposes']} transposes, {structure['batch_norms']} BatchNorms",
            *(f"input   {_spec(spec)}" for spec in artifact["inputs"]),
            *(f"output  {_spec(spec)}" for spec in artifact["outputs"]),
            f"weights {artifact['weights']['source']}, sha256 {artifact['weights']['sha256'][:12]}",
            *_quantisation(artifact),
        ]
        for line in lines:
            console.print(f"  {line}", soft_wrap=True, markup=False)
        if "golden" in artifact:
            console.print(f"  golden {artifact['golden']}", soft_wrap=True, markup=False)
        show_proof(console, artifact)
        if not artifact["weights"]["trained"]:
            console.print(f"  {UNTRAINED_NOTICE}", style="bold yellow", soft_wrap=True, markup=False)


def _quantisation(artifact: Document) -> Iterator[str]:
    from evim_deploy.artifact.quantisation import Quantisation

    if artifact["quantisation"]:
        quantisation = Quantisation.parse(artifact["quantisation"])
        yield from quantisation_lines(artifact["format"], artifact["precision"], quantisation)


def _spec(spec: Document) -> str:
    shape = "x".join(map(str, spec["shape"])) or "1"
    span = f" in {spec['range'][0]:g}..{spec['range'][1]:g}" if spec["range"] else ""
    return f"{spec['name']}: {spec['dtype']} {shape} {spec['layout']}{span}"
