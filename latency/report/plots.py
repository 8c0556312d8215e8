"""Plots as SVG, drawn by matplotlib with the colours of the page's style sheet.

Text remains text, ``$`` in names is literal, and equal reports have equal bytes.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any, cast

from evim_deploy.common.errors import NotInstalled
from latency.report.drawing import draw, height_of
from latency.report.palette import FAINT, INK, VARIABLES
from latency.report.view import Plot, Samples

_WIDTH = 7.2
"""Width of a plot, inches."""

_SETTINGS: dict[str, str | float | bool] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "path.simplify": False,
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
}


def svg(plot: Plot | Samples, name: str) -> str:
    """Draw a plot as an ``<svg>`` element.

    Args:
        plot: The plot, or samples to draw as a strip.
        name: A name that is unique in the page, the prefix of all ids in the plot.

    Raises:
        NotInstalled: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotInstalled("The plots need matplotlib.", 'pip install "evim-deploy[bench]"') from error

    with rc_context(cast(Any, {**_SETTINGS, "svg.hashsalt": name})):
        figure = Figure(figsize=(_WIDTH, height_of(plot)), layout=None if isinstance(plot, Samples) else "constrained")
        if isinstance(plot, Samples):  # hundreds of plots: a layout takes too long
            figure.subplots_adjust(0.07, 0.3, 0.995, 0.97)
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes, plot)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_page(buffer.getvalue(), name, getattr(plot, "caption", "") or getattr(plot, "title", ""))


def _for_page(drawn: str, name: str, title: str) -> str:
    """The element alone, with the page's colours, unique ids, and numbers of two decimals."""
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", drawn)
    drawn = drawn.replace("xlink:href", "href")
    for placeholder, variable in VARIABLES.items():
        drawn = drawn.replace(placeholder, variable)
    drawn = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawn)
    drawn = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<![\w#.-])(-?\d+\.\d{2})\d+", r"\1", tag[0]), drawn)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    drawn = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", drawn)
    drawn = re.sub(r'(id="|href="#|url\(#)(?=[^")]+)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(
        r' width="[\d.]+pt" height="[\d.]+pt"| height="[\d.]+pt"| width="[\d.]+pt"(?=[^<]*viewBox)', "", drawn, count=2
    )
    drawn = re.sub(r"\s*\n\s*", "\n", drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).strip()
