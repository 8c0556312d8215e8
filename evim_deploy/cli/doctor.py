"""``evim-deploy doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from evim_deploy.artifact.metadata import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import SETTINGS, out, print_json, reporting
from evim_deploy.cli.problems import end_with

if TYPE_CHECKING:
    from evim_deploy.commands.doctor import HostReport
    from evim_deploy.commands.self_test import SelfTest


def doctor(
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Export the model that ships, prove it, and run it in every engine.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the installed packages, the needs of each format, and the checks that this host can run."""
    from evim_deploy.commands.doctor import examine

    report = examine()
    test = _test() if self_test else None
    if json:
        section = {"self_test": {**asdict(test), "status": test.status}} if test else {}
        print_json({"schema_version": SCHEMA_VERSION, **asdict(report), **section})
    else:
        _show(report)
        if test:
            _show_test(test)
    end_with(test.problems() if test else [])


def _test() -> SelfTest:
    from evim_deploy.commands.self_test import self_test

    with reporting(SETTINGS) as reporter:
        return self_test(reporter)


def _show_test(test: SelfTest) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("self-test", "engine", "status", "parity", "digits read right", "of", "seconds"):
        table.add_column(column, no_wrap=column != "status")
    for check in test.checks:
        status = check.status.replace("_", " ") + (f": {check.reason}" if check.reason else "")
        read = ("", "", "")
        if check.top1 is not None:
            read = f"{check.top1:.1f} %", str(check.count), f"{check.seconds:.1f}"
        table.add_row(f"{check.format} {check.precision}", check.engine, status, check.parity, *read)
    console = out()
    console.print()
    console.print(table)
    console.print(f"\n{test.status} in {test.seconds:.0f} s, over held-out digits", soft_wrap=True)


def _show(report: HostReport) -> None:
    from rich.table import Table

    console = out()
    host = report.host
    console.print(f"{host.system}, {host.processor}, {host.cores} cores, Python {host.python}", soft_wrap=True)
    console.print()
    packages = Table(box=None, pad_edge=False)
    for column in ("package", "installed", "for"):
        packages.add_column(column, no_wrap=True)
    for package in report.packages:
        packages.add_row(package.name, package.version or "no", ", ".join(package.needed_for))
    console.print(packages)
    console.print()
    for format_ in report.formats:
        console.print(format_.name, style="bold")
        console.print(f"  export: {format_.export}", soft_wrap=True, markup=False)
        for engine, health in format_.run.items():
            console.print(f"  run and check ({engine}): {health}", soft_wrap=True, markup=False)
    for converter in report.converters:
        console.print(converter.name, style="bold")
        versions = f" ({converter.version}, TensorFlow {converter.tensorflow}, {converter.python})"
        health = converter.health + (versions if converter.version else "")
        console.print(f"  convert other networks to tflite: {health}", soft_wrap=True, markup=False)
