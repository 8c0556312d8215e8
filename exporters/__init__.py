"""The formats that a network can be written in: one folder a format, the same verbs in each.

``build(network, target, path) -> Signature``   write the artifact
``annotate(path, metadata, info)``              write metadata and descriptions into the artifact

A format's folder has one module for each kind of network: ``graph`` for our graph, ``torch_module`` for any other.
This package owns the table of formats. It imports graphs, quantisation schemes and artifacts, and no engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from evim_deploy.artifact.info import ArtifactInfo
from evim_deploy.artifact.signature import Signature
from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import UNQUANTISED, ArtifactFormat, ModelKind, Output, Precision
from evim_deploy.common.errors import NotInstalled, UsageProblem
from evim_deploy.quantise.schemes import quantised_precisions
from exporters.tflite import onnx2tf_environment


class Exporter(Protocol):
    """The two functions of each module of a format."""

    def build(self, network: Any, target: Target, path: Path) -> Signature: ...

    def annotate(self, path: Path, metadata: Mapping[str, str], info: ArtifactInfo) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row of the table of formats.

    Attributes:
        name: Name on the command line.
        aliases: Other accepted names.
        suffix: Suffix of the artifact's file or package.
        precisions: Supported precisions, the default first.
        default_output: Default output of a classifier.
        dynamic: Whether batch, height and width may be dynamic.
        multifunction_from: The lowest deployment target at which one artifact may have several functions, each with
            its own size; None where the format has no functions.
        opsets: Supported operator sets, the default first; empty where the format has none.
        deployment_targets: Supported minimum deployment targets, the default first; empty where the format has none.
        extra: The extra that installs the format's packages.
        requires: Import names of the required packages.
    """

    name: ArtifactFormat
    aliases: tuple[str, ...]
    suffix: str
    precisions: tuple[str, ...]
    default_output: Output
    dynamic: bool
    extra: str
    requires: tuple[str, ...]
    multifunction_from: str | None = None
    opsets: tuple[int, ...] = ()
    deployment_targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class KindRequirements:
    """Requirements for exporting networks of one kind.

    Attributes:
        requires: Import names of additional packages, by format.
        extra: The extra that installs these packages.
        converters: By format, the name of a converter with an environment of its own, and the function that finds this
            environment or raises :class:`NotInstalled`.
    """

    requires: Mapping[str, tuple[str, ...]]
    extra: str
    converters: Mapping[str, tuple[str, Callable[[], onnx2tf_environment.Environment]]] = field(default_factory=dict)


KINDS = {
    ModelKind.GRAPH: KindRequirements({}, ""),
    ModelKind.TORCH_MODULE: KindRequirements(
        {ArtifactFormat.ONNX: ("onnxscript",), ArtifactFormat.TFLITE: ("onnx", "onnxscript")},
        "networks",
        {ArtifactFormat.TFLITE: ("onnx2tf", onnx2tf_environment.find)},
    ),
}

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            name=ArtifactFormat.COREML,
            aliases=("ios", "mlpackage"),
            suffix=".mlpackage",
            precisions=(Precision.FP16, Precision.FP32, *quantised_precisions(ArtifactFormat.COREML)),
            default_output=Output.PROBABILITIES,
            dynamic=False,
            extra="coreml",
            requires=("coremltools",),
            multifunction_from="iOS18",
            deployment_targets=("iOS16", "iOS17", "iOS18"),
        ),
        Format(
            name=ArtifactFormat.ONNX,
            aliases=(),
            suffix=".onnx",
            precisions=(*UNQUANTISED, *quantised_precisions(ArtifactFormat.ONNX)),
            default_output=Output.LOGITS,
            dynamic=True,
            extra="onnx",
            requires=("onnx",),
            opsets=(18, *range(13, 18), *range(19, 24)),
        ),
        Format(
            name=ArtifactFormat.TFLITE,
            aliases=("litert",),
            suffix=".tflite",
            precisions=(*UNQUANTISED, *quantised_precisions(ArtifactFormat.TFLITE)),
            default_output=Output.PROBABILITIES,
            dynamic=False,
            extra="tflite",
            requires=("tensorflow",),
        ),
    )
}


def parse_format(text: str) -> Format:
    """Return the format with a name or alias.

    Raises:
        UsageProblem: The name is unknown; the message lists the supported names.
    """
    for row in FORMATS.values():
        if text.lower() in (row.name, *row.aliases):
            return row
    names = ", ".join(name for row in FORMATS.values() for name in (row.name, *row.aliases))
    raise UsageProblem(f"Unknown format {text!r}.", f"Use one of {names}.")


def parse_precision(text: str) -> str:
    """Return a precision that at least one format supports.

    Raises:
        UsageProblem: No format supports it; the message lists the supported precisions.
    """
    known = dict.fromkeys(precision for row in FORMATS.values() for precision in row.precisions)
    if text.lower() not in known:
        raise UsageProblem(f"Unknown precision {text!r}.", f"Use one of {', '.join(known)}.")
    return text.lower()


def needs(format_: Format, kind: ModelKind = ModelKind.GRAPH) -> dict[str, str]:
    """Return the packages that a format requires for a kind of network, each with the extra that installs it."""
    own = KINDS[kind]
    return dict.fromkeys(format_.requires, format_.extra) | dict.fromkeys(own.requires.get(format_.name, ()), own.extra)


def require(format_: Format, kind: ModelKind = ModelKind.GRAPH) -> None:
    """Check, without an import, that the requirements of a format for a kind of network are installed.

    Raises:
        NotInstalled: A package or converter is missing; the message gives the install command.
    """
    for package, extra in needs(format_, kind).items():
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(
                f"{format_.name} needs {package}, which is not installed.", f'pip install "evim-deploy[{extra}]"'
            )
    converter_versions(format_, kind)


def converter_versions(format_: Format, kind: ModelKind = ModelKind.GRAPH) -> dict[str, str]:
    """Return the versions of the converters that have environments of their own, by name.

    Raises:
        NotInstalled: A converter is missing; the message gives the install command.
    """
    needed = filter(None, [KINDS[kind].converters.get(format_.name)])
    return {name: find().version for name, find in needed}


def load(format_: Format, kind: ModelKind = ModelKind.GRAPH) -> Exporter:
    """Import and return the module of a format for a kind of network. The import takes seconds."""
    _load_triton_before_tensorflow()
    if "coremltools" in format_.requires:
        _load_coremltools_alone()
    return cast("Exporter", importlib.import_module(f"exporters.{format_.name}.{kind}"))


def _load_triton_before_tensorflow() -> None:
    """Import triton first: on Linux both packages contain LLVM, and the process aborts if TensorFlow's is loaded first.

    This holds for TensorFlow 2.20 and later. torch imports triton when it first needs it.
    """
    if all(importlib.util.find_spec(package) for package in ("triton", "tensorflow")):
        importlib.import_module("triton")


def _load_coremltools_alone() -> None:
    """Import coremltools without the packages of its other converters, which take 6 of 10 s."""
    hidden = [name for name in ("tensorflow", "sklearn", "xgboost") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # an import of None fails
    try:
        importlib.import_module("coremltools")
    finally:
        for name in hidden:
            del sys.modules[name]
