"""``evim-deploy export``."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.artifact.target import UNTRAINED_NOTICE
from evim_deploy.catalog.terms import Task
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.parity import show_proof
from evim_deploy.cli.quantisation import quantisation_lines


class DeploymentTarget(StrEnum):
    ios16 = "iOS16"
    ios17 = "iOS17"
    ios18 = "iOS18"


class Output(StrEnum):
    logits = "logits"
    probabilities = "probabilities"


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="m1, m2, m3, m4, with _dist the distilled one; timm:NAME; or a classifier FILE.onnx.",
        ),
    ],
    format_: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            metavar="onnx|coreml|tflite",
            help="Repeatable. Also ios, mlpackage, litert.",
        ),
    ] = ["coreml"],  # noqa: B006, typer copies it
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            "-p",
            metavar="fp32|fp16|int8|...",
            help="Repeatable. ONNX has dynamic, too; TFLite dynamic, int16x8; Core ML pal4, pal6, pal8, w8a8, int4.",
            show_default="fp16 for coreml, fp32 for the others",
        ),
    ] = None,
    resolution: Annotated[
        list[str] | None,
        typer.Option(
            "--resolution",
            "-r",
            metavar="INT|HxW|dynamic",
            help="Repeatable; dynamic is ONNX's.",
            show_default="native",
        ),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", "-b", metavar="INT|dynamic", help="Images in one prediction.")] = "1",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", "-w", metavar="PATH|hf:REPO[/FILE]|timm:NAME|random[:SEED]", show_default="the published ones"
        ),
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Of the classifier.", show_default="the weights'")] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line.", show_default="ImageNet's")] = None,
    task: Annotated[Task, typer.Option(help="Classes, or dense features at strides 16, 32 and 64.")] = Task.CLASSIFY,
    output: Annotated[
        Output | None,
        typer.Option(help="Of a classifier.", show_default="logits for onnx, else probabilities"),
    ] = None,
    no_preprocess: Annotated[
        bool, typer.Option("--no-preprocess", help="Take a normalised tensor instead of RGB pixels 0-255.")
    ] = False,
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Of an ONNX file's images, in units of 255; with --std.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Likewise; without both it takes what the file does.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX's operator set.", show_default="18")] = None,
    half_io: Annotated[
        bool, typer.Option("--half-io", help="Let an fp16 ONNX file take and give float16, too.")
    ] = False,
    deployment_target: Annotated[
        DeploymentTarget | None,
        typer.Option(
            case_sensitive=False,
            help="The oldest system that a Core ML package is for.",
            show_default="iOS16, with --multifunction iOS18",
        ),
    ] = None,
    multifunction: Annotated[
        bool,
        typer.Option("--multifunction", help="All resolutions in one Core ML package, which shares its weights."),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Images that int8, int16x8 and w8a8 find the ranges of values on; 128 are recommended.",
            show_default="the photographs that ship",
        ),
    ] = None,
    keep_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Keep the costliest layers in floating point, as few as leave all but so many answers as they are.",
            show_default="all layers are quantised",
        ),
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where the artifacts go.")] = Path(),
    golden: Annotated[
        bool, typer.Option("--golden", help="Write inputs and the model's answers beside each, for a device to check.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace artifacts of the same names.")] = False,
    verify: Annotated[
        bool | None,
        typer.Option("--verify/--no-verify", help="Compare with the source model.", show_default="where this host can"),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make artifacts of a model, rewritten for inference and compared with the source model."""
    from evim_deploy.commands.export import export as make
    from evim_deploy.commands.request import Request
    from evim_deploy.networks.open import parse_source
    from exporters import parse_format, parse_precision

    request = Request(
        model=parse_source(model, options.parse_normalisation(mean, std)),
        formats=tuple(parse_format(name).name for name in format_),
        precisions=tuple(parse_precision(text) for text in precision or ()),
        sizes=tuple(options.parse_size(text) for text in resolution or ()),
        batch=options.parse_batch(batch),
        weights=weights,
        num_classes=num_classes,
        labels=labels,
        task=task.value,
        output=output.value if output else None,
        preprocess=not no_preprocess,
        opset=opset,
        half_io=half_io,
        deployment_target=deployment_target.value if deployment_target else None,
        multifunction=multifunction,
        calibration=calibration,
        allowed_loss=keep_accuracy,
        output_dir=output_dir,
        overwrite=overwrite,
        golden=golden,
        verify=verify,
    )
    with reporting(SETTINGS) as reporter:
        artifacts = make(request, reporter)
    if json:
        print_json({"schema_version": SCHEMA_VERSION, "artifacts": artifacts})
    else:
        _show(artifacts)


def _show(artifacts: list[dict[str, Any]]) -> None:
    console = out()
    for artifact in artifacts:
        structure = artifact["structure"]
        console.print(artifact["path"], style="bold", soft_wrap=True, markup=False)
        size = artifact["size_bytes"] / 1e6
        operations = sum(structure["operations"].values())
        lines = [
            f"{artifact['format']} {artifact['precision']}, {size:.1f} MB, {operations} operations, "
            f"{structure['transposes']} transposes, {structure['batch_norms']} BatchNorms",
            *(f"takes  {_spec(spec)}" for spec in artifact["inputs"]),
            *(f"gives  {_spec(spec)}" for spec in artifact["outputs"]),
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


def _quantisation(artifact: dict[str, Any]) -> Iterator[str]:
    from evim_deploy.artifact.quantisation import Quantisation

    if artifact["quantisation"]:
        found = Quantisation.parse(artifact["quantisation"])
        yield from quantisation_lines(artifact["format"], artifact["precision"], found)


def _spec(spec: dict[str, Any]) -> str:
    shape = "x".join(map(str, spec["shape"])) or "1"
    span = f" in {spec['range'][0]:g}..{spec['range'][1]:g}" if spec["range"] else ""
    return f"{spec['name']}: {spec['dtype']} {shape} {spec['layout']}{span}"
