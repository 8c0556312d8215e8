"""The options of all commands: their types, flags and help texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evim_deploy.catalog import terms
from evim_deploy.cli.console import SETTINGS

_WEIGHTS = "PATH|hf:REPO[/FILE]|timm:NAME|random[:SEED]"


def _quiet(is_set: bool) -> bool:
    SETTINGS.quiet = is_set
    return is_set


def _verbose(is_set: bool) -> bool:
    SETTINGS.verbose = is_set
    return is_set


# --- shared

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
OverwriteAll = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="Show warnings only, no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", callback=_verbose, help="Show details, and where a fault is.")]
OriginWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        metavar=_WEIGHTS,
        help="The weights of the reference.",
        show_default="those that each artifact was made from",
    ),
]

# --- export


class ClassifierOutput(StrEnum):
    """The values of ``export --output``."""

    LOGITS = terms.Output.LOGITS
    PROBABILITIES = terms.Output.PROBABILITIES


class DeploymentTarget(StrEnum):
    """The values of ``export --deployment-target``."""

    IOS16 = "iOS16"
    IOS17 = "iOS17"
    IOS18 = "iOS18"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="m1, m2, m3, m4, or with _dist the distilled model; timm:NAME; or a classifier FILE.onnx.",
    ),
]
Formats = Annotated[
    list[str],
    typer.Option("--format", "-f", metavar="onnx|coreml|tflite", help="Repeatable. Aliases: ios, mlpackage, litert."),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        "-p",
        metavar="fp32|fp16|int8|...",
        help="Repeatable. Also ONNX: dynamic; TFLite: dynamic, int16x8; Core ML: pal4, pal6, pal8, w8a8, int4.",
        show_default="fp16 for coreml, fp32 for the others",
    ),
]
Resolutions = Annotated[
    list[str] | None,
    typer.Option(
        "--resolution",
        "-r",
        metavar="INT|HxW|dynamic",
        help="Repeatable. Only ONNX supports dynamic.",
        show_default="native",
    ),
]
Batch = Annotated[str, typer.Option("--batch", "-b", metavar="INT|dynamic", help="Images in one prediction.")]
Weights = Annotated[str | None, typer.Option("--weights", "-w", metavar=_WEIGHTS, show_default="the published weights")]
NumClasses = Annotated[
    int | None, typer.Option(help="Number of classes of the classifier.", show_default="as in the weights")
]
Labels = Annotated[
    Path | None, typer.Option(help="File with class names, one a line.", show_default="ImageNet's labels")
]
Task = Annotated[terms.Task, typer.Option(help="Classes, or dense features at strides 16, 32 and 64.")]
Output = Annotated[
    ClassifierOutput | None,
    typer.Option(help="Output of the classifier.", show_default="logits for onnx, else probabilities"),
]
NoPreprocess = Annotated[
    bool, typer.Option("--no-preprocess", help="Expect a normalised tensor as input instead of RGB pixels 0-255.")
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Mean of an ONNX file's input images, in units of 255; requires --std."),
]
Std = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Standard deviation, in units of 255; requires --mean."),
]
Opset = Annotated[int | None, typer.Option(help="ONNX operator set.", show_default="18")]
HalfIo = Annotated[bool, typer.Option("--half-io", help="Use float16 inputs and outputs in an fp16 ONNX file.")]
Deployment = Annotated[
    DeploymentTarget | None,
    typer.Option(
        case_sensitive=False,
        help="Minimum system version of a Core ML package.",
        show_default="iOS16, with --multifunction iOS18",
    ),
]
Multifunction = Annotated[
    bool,
    typer.Option("--multifunction", help="Put all resolutions into one Core ML package with shared weights."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR|FILE",
        help="Images to calibrate int8, int16x8 and w8a8 on; 128 are recommended.",
        show_default="the photographs that ship",
    ),
]
KeepAccuracy = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        help="Keep the fewest layers in float so that at most PERCENT of the predictions change.",
        show_default="quantise all layers",
    ),
]
ArtifactFolder = Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for the artifacts.")]
Golden = Annotated[
    bool, typer.Option("--golden", help="Also write inputs and reference outputs, for a check on a device.")
]
Verify = Annotated[
    bool | None,
    typer.Option("--verify/--no-verify", help="Compare with the source model.", show_default="if this host can"),
]

# --- verify


class Mode(StrEnum):
    """The values of ``verify --mode``."""

    FP32 = "fp32"
    FP16 = "fp16"
    ANE = "ane"


class ComputeUnits(StrEnum):
    """The values of ``verify --compute-units``, by their names in Swift."""

    ALL = "all"
    CPU = "cpuOnly"
    GPU = "cpuAndGPU"
    NEURAL_ENGINE = "cpuAndNeuralEngine"


Artifacts = Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Made by `evim-deploy export`.")]
Inputs = Annotated[Path | None, typer.Option(metavar="DIR", help="Images to compare over, besides the standard ones.")]
VerifyMode = Annotated[
    Mode | None,
    typer.Option(
        help="Arithmetic: fp32, fp16 as stored, or ane, a pessimistic model of the Neural Engine.",
        show_default="as the engine of this host",
    ),
]
Units = Annotated[ComputeUnits | None, typer.Option(help="Core ML's compute units, on a Mac.", show_default="all")]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="Build the artifact again from its weights, and compare the bytes.")
]
Layers = Annotated[
    bool, typer.Option("--layers", help="Find the first operation that diverges; plot the error over depth.")
]
PlotFolder = Annotated[Path, typer.Option("--output-dir", "-o", help="Folder for the plots.")]

# --- bench

BenchModels = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL...]", help="As listed by `evim-deploy models`.", show_default="m1 to m4"),
]
BenchSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        "-s",
        metavar="cpu|gpu|iphone",
        help="The paper's: batch 16, fp32, one thread; batch 256, autocast; batch 1, Core ML. Repeatable.",
        show_default="cpu",
    ),
]
Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        "-e",
        metavar="NAME",
        help="torch, torch-compile, torchscript, onnxruntime, openvino, litert or coreml. Repeatable.",
        show_default="as the setting",
    ),
]
BenchArtifacts = Annotated[
    list[Path] | None, typer.Option("--artifact", "-a", metavar="PATH", help="A model file. Repeatable.")
]
Peers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="table-e|table-3|figure-3|NAME,...",
        help="timm networks, from the paper's tables or by name; figure-3 times the mixer alone.",
    ),
]
BenchResolutions = Annotated[
    list[str] | None,
    typer.Option("--resolution", "-r", metavar="LIST", help="224,384x512,native in pixels.", show_default="native"),
]
Batches = Annotated[
    list[str] | None,
    typer.Option(
        "--batch",
        "-b",
        metavar="LIST",
        help="Images in one prediction; halved until they fit into memory.",
        show_default="as the setting",
    ),
]
Threads = Annotated[
    list[str] | None, typer.Option(metavar="LIST", help="CPU threads: 1,2,all.", show_default="as the setting")
]
BenchPrecisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        "-p",
        metavar="LIST",
        help="fp32, fp16, bf16; for our own files also int8, dynamic, int16x8 and Core ML's.",
        show_default="as setting and engine",
    ),
]
Layouts = Annotated[
    list[str] | None,
    typer.Option(metavar="LIST", help="channels-first, channels-last; for PyTorch.", show_default="as the setting"),
]
Device = Annotated[str | None, typer.Option(metavar="cpu|cuda|coreml", show_default="as the setting")]
Protocol = Annotated[
    str,
    typer.Option(metavar="robust|paper", help="Interleaved rounds with a control, or the published procedure."),
]
Seconds = Annotated[float | None, typer.Option(help="Minimum seconds of timing per case.", show_default="20; paper 60")]
WarmUp = Annotated[float | None, typer.Option(help="Minimum seconds of warm-up per case.", show_default="2; paper 10")]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds that share the timing.", show_default="60; paper 1")]
Budget = Annotated[
    float | None,
    typer.Option(metavar="MINUTES", help="Start no round after this time, and no trial after half of it."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed for the order within each round.")]
Breakdown = Annotated[
    bool, typer.Option("--breakdown", help="Time per class of operation, from the engine's own profiler.")
]
Memory = Annotated[bool, typer.Option("--memory", help="Measure peak memory while predicting.")]
ResultsFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="RESULTS.json", help="File for the samples.")
]

# --- report

Results = Annotated[
    list[Path] | None, typer.Argument(metavar="[RESULTS...]", help="Written by `evim-deploy bench -o`.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="A .html, .md or .csv.", show_default="print the tables"),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[, ENGINE[, PRECISION]]",
        help="The case to compare the others with.",
        show_default="the first of each group",
    ),
]
Manifests = Annotated[
    list[Path] | None,
    typer.Option(
        "--artifacts",
        metavar="DIR",
        help="Folder with manifests of exports: adds their size and parity. Repeatable.",
    ),
]
Accuracies = Annotated[
    list[Path] | None,
    typer.Option(
        "--accuracy", metavar="FILE", help="Output of `evim-deploy evaluate --json`: adds accuracy. Repeatable."
    ),
]
Imports = Annotated[
    list[Path] | None, typer.Option("--import", metavar="FILE", help="Results of the demo app on a phone.")
]

# --- evaluate

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="ARTIFACT... DATA",
        help="Made by `evim-deploy export`; then a folder with a folder per class or a file of labels, or digits.",
    ),
]
Limit = Annotated[int | None, typer.Option(help="Number of images to evaluate, a seeded sample.")]
LabelFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Classes of the images in a flat folder.", show_default="found in the folder"),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="names|indices|wordnet|sorted",
        help="Meaning of the data's class names.",
        show_default="the first that fits",
    ),
]
Resume = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save the predictions there, and continue from those it has.")
]
