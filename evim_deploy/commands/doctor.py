"""The packages and engines of this host, and the formats that it can export, run and check."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import exporters
import runtimes
from evim_deploy.catalog.network_name import PACKAGES
from evim_deploy.catalog.terms import ModelKind
from evim_deploy.common.errors import NotInstalled
from evim_deploy.common.host import HostDescription, describe_host
from evim_deploy.common.versions import installed_version
from exporters.tflite import onnx2tf_environment

YES = "yes"

_WEIGHTS_PACKAGES = ("torch", "safetensors", "huggingface_hub")


@dataclass(frozen=True)
class Package:
    """A package, its version (None if it is not installed), and the formats that need it."""

    name: str
    version: str | None
    needed_for: tuple[str, ...]


@dataclass(frozen=True)
class FormatHealth:
    """Whether a format can be exported, and run in each engine: ``yes``, or the problem and its remedy."""

    name: str
    export: str
    run: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Converter:
    """A converter in an environment of its own: onnx2tf. The last three are None if it cannot be used.

    Attributes:
        name: Its name on the package index.
        health: ``yes``, or the problem and its remedy.
        version: The version of the converter.
        tensorflow: The version of TensorFlow in its environment.
        python: The interpreter of its environment.
    """

    name: str
    health: str
    version: str | None
    tensorflow: str | None
    python: str | None


@dataclass(frozen=True)
class HostReport:
    """The report of ``evim-deploy doctor``."""

    host: HostDescription
    packages: tuple[Package, ...]
    formats: tuple[FormatHealth, ...]
    converters: tuple[Converter, ...]


def examine() -> HostReport:
    """Examine this host without importing a heavy package."""
    needs: dict[str, list[str]] = {package: ["weights"] for package in _WEIGHTS_PACKAGES}
    for format_ in exporters.FORMATS.values():
        engines = runtimes.engines_of(format_.suffix)
        for package in (*format_.requires, *(package for engine in engines for package in engine.requires)):
            uses = needs.setdefault(package, [])
            if format_.name not in uses:
                uses.append(format_.name)
    of_networks = chain(*PACKAGES.values(), *exporters.KINDS[ModelKind.TORCH_MODULE].requires.values())
    for package in dict.fromkeys(of_networks):
        needs.setdefault(package, []).append("networks")
    packages = tuple(Package(name, installed_version(name), tuple(uses)) for name, uses in needs.items())
    formats = tuple(_health(format_) for format_ in exporters.FORMATS.values())
    return HostReport(describe_host(), packages, formats, (_onnx2tf(),))


def _onnx2tf() -> Converter:
    try:
        environment = onnx2tf_environment.find()
    except NotInstalled as error:
        return Converter(
            name="onnx2tf",
            health=f"{error.cause.rstrip('.')}: {error.remedy}",
            version=None,
            tensorflow=None,
            python=None,
        )
    return Converter(
        name="onnx2tf",
        health=YES,
        version=environment.version,
        tensorflow=environment.tensorflow,
        python=str(environment.python),
    )


def _health(format_: exporters.Format) -> FormatHealth:
    missing = [name for name in (*_WEIGHTS_PACKAGES, *format_.requires) if importlib.util.find_spec(name) is None]
    pip = f'pip install "evim-deploy[{format_.extra}]"'
    export = f"needs {', '.join(missing)}: {pip}" if missing else YES
    engines = runtimes.engines_of(format_.suffix)
    return FormatHealth(format_.name, export, {engine.name: _run_health(engine, pip) for engine in engines})


def _run_health(engine: runtimes.Engine, pip: str) -> str:
    reason = runtimes.unavailable_reason(engine)
    if not reason:
        return YES
    return f"{reason}: {pip}" if runtimes.missing_package(engine) else f"not run on this host: {reason}"
