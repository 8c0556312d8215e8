"""Plots as SVG that takes its colours from the page: matplotlib draws them, and the page's style sheet paints them.

Words stay words, names are taken as they are (``$`` begins no formula), and the same report gives the same bytes.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any, cast

from evim_deploy.common.errors import NotInstalled
from latency.report.painters import PAINTERS
from latency.report.palette import FAINT, INK, VARIABLES
from latency.report.view import Plot, Samples

_WIDTH = 7.2
"""Inches."""

_SETTINGS: dict[str, Any] = {
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
    """A plot as an ``<svg>`` element.

    Args:
        name: Unique in the page; ids inside the plot begin with it.

    Raises:
        NotInstalled: matplotlib is missing.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotInstalled("The plots need matplotlib.", 'pip install "evim-deploy[bench]"') from error

    draw, height = PAINTERS[type(plot)]
    with rc_context(cast(Any, {**_SETTINGS, "svg.hashsalt": name})):
        figure = Figure(figsize=(_WIDTH, height(plot)), layout=None if isinstance(plot, Samples) else "constrained")
        if isinstance(plot, Samples):  # hundreds of them: no time for a layout
            figure.subplots_adjust(0.07, 0.3, 0.995, 0.97)
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes, plot)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_page(buffer.getvalue(), name, getattr(plot, "caption", "") or getattr(plot, "title", ""))


def _for_page(drawn: str, name: str, title: str) -> str:
    """The element alone, its colours the page's, its ids unique, its numbers of two decimals."""
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", drawn)
    drawn = drawn.replace("xlink:href", "href")
    for stand_in, variable in VARIABLES.items():
        drawn = drawn.replace(stand_in, variable)
    drawn = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", drawn)
    drawn = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<![\w#.-])(-?\d+\.\d{2})\d+", r"\1", tag[0]), drawn)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    drawn = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", drawn)
    drawn = re.sub(r'(id="|href="#|url\(#)(?=[^")]+)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(
        r' width="[\d.]+pt" height="[\d.]+pt"| height="[\d.]+pt"| width="[\d.]+pt"(?=[^<]*viewBox)', "", drawn, count=2
    )
    drawn = re.sub(r"\s*\n\s*", "\n", drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).strip()
