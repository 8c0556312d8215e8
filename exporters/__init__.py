"""The formats that a network can be written in: one folder a format, the same verbs in each.

``build(network, target, path) -> Contract``   write the artifact
``annotate(path, metadata, facts)``            put the facts into the artifact's own metadata

A format's folder has a module for each form of a network: ``graph`` for our graph, ``torch_module`` for any other.
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
from evim_deploy.catalog.terms import UNQUANTISED
from evim_deploy.common.errors import NotInstalled, UsageProblem
from evim_deploy.quantise.schemes import quantised
from exporters.tflite import onnx2tf_environment


class Exporter(Protocol):
    """What every module of a format offers."""

    def build(self, network: Any, target: Target, path: Path) -> Signature: ...

    def annotate(self, path: Path, metadata: Mapping[str, str], facts: ArtifactInfo) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """One row of the table of formats.

    Attributes:
        name: Name on the command line.
        aliases: Other names.
        suffix: Of the artifact's file or package.
        precisions: That it may be written in, the usual one first.
        default_output: What a classifier gives unless asked otherwise.
        dynamic: Whether batch, height and width may be left open.
        multifunction_from: The deployment target from which on one artifact may have a function for each of several
            sizes; None where it never has.
        opsets: Operator sets that it may be written in, the usual one first; empty where it has none.
        deployment_targets: The oldest systems that it may be written for, likewise.
        extra: The extra that installs what this format needs.
        requires: Packages that it needs, by the names they are imported under.
    """

    name: str
    aliases: tuple[str, ...]
    suffix: str
    precisions: tuple[str, ...]
    default_output: str
    dynamic: bool
    extra: str
    requires: tuple[str, ...]
    multifunction_from: str | None = None
    opsets: tuple[int, ...] = ()
    deployment_targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """What writes networks of a form (:attr:`evim_deploy.networks.protocols.Reference.form`).

    Attributes:
        requires: By format the packages that it needs besides the format's own.
        extra: The extra that installs these.
        converters: By format the converter that has an environment of its own: its name, and what finds it or raises
            :class:`NotInstalled`.
    """

    requires: Mapping[str, tuple[str, ...]]
    extra: str
    converters: Mapping[str, tuple[str, Callable[[], onnx2tf_environment.Environment]]] = field(default_factory=dict)


FORMS = {
    "graph": Form({}, ""),
    "torch_module": Form(
        {"onnx": ("onnxscript",), "tflite": ("onnx", "onnxscript")},
        "networks",
        {"tflite": ("onnx2tf", onnx2tf_environment.find)},
    ),
}

FORMATS = {
    row.name: row
    for row in (
        Format(
            name="coreml",
            aliases=("ios", "mlpackage"),
            suffix=".mlpackage",
            precisions=("fp16", "fp32", *quantised("coreml")),
            default_output="probabilities",
            dynamic=False,
            extra="coreml",
            requires=("coremltools",),
            multifunction_from="iOS18",
            deployment_targets=("iOS16", "iOS17", "iOS18"),
        ),
        Format(
            name="onnx",
            aliases=(),
            suffix=".onnx",
            precisions=(*UNQUANTISED, *quantised("onnx")),
            default_output="logits",
            dynamic=True,
            extra="onnx",
            requires=("onnx",),
            opsets=(18, *range(13, 18), *range(19, 24)),
        ),
        Format(
            name="tflite",
            aliases=("litert",),
            suffix=".tflite",
            precisions=(*UNQUANTISED, *quantised("tflite")),
            default_output="probabilities",
            dynamic=False,
            extra="tflite",
            requires=("tensorflow",),
        ),
    )
}


def parse_format(text: str) -> Format:
    """The format that a user names, by its name or an alias.

    Raises:
        UsageProblem: No such format; the message lists those there are.
    """
    for row in FORMATS.values():
        if text.lower() in (row.name, *row.aliases):
            return row
    names = ", ".join(name for row in FORMATS.values() for name in (row.name, *row.aliases))
    raise UsageProblem(f"There is no format {text!r}.", f"Use one of {names}.")


def parse_precision(text: str) -> str:
    """A precision that some format has.

    Raises:
        UsageProblem: None has it; the message lists those there are.
    """
    known = dict.fromkeys(precision for row in FORMATS.values() for precision in row.precisions)
    if text.lower() not in known:
        raise UsageProblem(f"There is no precision {text!r}.", f"Use one of {', '.join(known)}.")
    return text.lower()


def needs(format_: Format, form: str = "graph") -> dict[str, str]:
    """The packages that a format needs for networks of a form, each with the extra that installs it."""
    own = FORMS[form]
    return dict.fromkeys(format_.requires, format_.extra) | dict.fromkeys(own.requires.get(format_.name, ()), own.extra)


def require(format_: Format, form: str = "graph") -> None:
    """Check, without importing it, that what a format needs for networks of a form is installed.

    Raises:
        NotInstalled: A package or converter is missing; the message has the command that installs it.
    """
    for package, extra in needs(format_, form).items():
        if importlib.util.find_spec(package) is None:
            raise NotInstalled(
                f"{format_.name} needs {package}, which is not installed.", f'pip install "evim-deploy[{extra}]"'
            )
    converter_versions(format_, form)


def converter_versions(format_: Format, form: str = "graph") -> dict[str, str]:
    """Versions of the converters in environments of their own that a format needs for networks of a form, by name.

    Raises:
        NotInstalled: One is missing; the message has the command that installs it.
    """
    needed = filter(None, [FORMS[form].converters.get(format_.name)])
    return {name: find().version for name, find in needed}


def load(format_: Format, form: str = "graph") -> Exporter:
    """The module of a format for networks of a form, importing what it needs, which takes seconds."""
    _load_triton_before_tensorflow()
    if "coremltools" in format_.requires:
        _load_coremltools_alone()
    return cast("Exporter", importlib.import_module(f"exporters.{format_.name}.{form}"))


def _load_triton_before_tensorflow() -> None:
    """On Linux both bring an LLVM; the process aborts where TensorFlow's (2.20 and later) comes first.

    torch loads triton whenever it first needs it.
    """
    if all(importlib.util.find_spec(package) for package in ("triton", "tensorflow")):
        importlib.import_module("triton")


def _load_coremltools_alone() -> None:
    """Import coremltools without the packages that it imports for its other converters: they take 6 of 10 s."""
    hidden = [name for name in ("tensorflow", "sklearn", "xgboost") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # an import of None fails
    try:
        importlib.import_module("coremltools")
    finally:
        for name in hidden:
            del sys.modules[name]
