"""The report as one HTML file that needs nothing else: no network, no script, no font."""

from __future__ import annotations

from pathlib import Path

from evim_deploy.common.errors import NotInstalled
from latency.report import plots, words
from latency.report.view import Plot, Report, Samples, letter


def write(report: Report) -> str:
    """The page.

    Raises:
        NotInstalled: jinja2 or matplotlib is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise NotInstalled("The HTML report needs jinja2.", 'pip install "evim-deploy[bench]"') from error

    def drawn(plot: Plot | Samples, name: str) -> Markup:
        return Markup(plots.svg(plot, name))  # matplotlib has escaped every name in it

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(letter=letter, number=words.number)
    return environment.get_template("template.html").render(report=report, svg=drawn)
