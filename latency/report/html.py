"""The HTML writer: one self-contained file without network access, scripts or fonts."""

from __future__ import annotations

from pathlib import Path

from evim_deploy.common.errors import NotInstalled
from latency.report import formatting, plots
from latency.report.view import LatencyReport, Plot, Samples, letter


def write(report: LatencyReport) -> str:
    """Write the page.

    Raises:
        NotInstalled: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise NotInstalled("The HTML report needs jinja2.", 'pip install "evim-deploy[bench]"') from error

    def svg(plot: Plot | Samples, name: str) -> Markup:
        return Markup(plots.svg(plot, name))  # matplotlib escapes the names

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(letter=letter, number=formatting.number)
    return environment.get_template("template.html").render(report=report, svg=svg)
