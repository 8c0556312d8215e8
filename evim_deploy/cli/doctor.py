"""``evim-deploy doctor``."""

from __future__ import annotations

from dataclasses import asdict

from evim_deploy.artifact import SCHEMA_VERSION
from evim_deploy.cli import options
from evim_deploy.cli.console import out, print_json


def doctor(json: options.Json = False, verbose: options.Verbose = False) -> None:
    """What is installed, what each format needs, and what this host can and cannot check."""
    from evim_deploy.doctor import examine

    report = examine()
    if json:
        print_json({"schema_version": SCHEMA_VERSION, **asdict(report)})
        return

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
