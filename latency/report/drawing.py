"""Drawing of each kind of plot on matplotlib's axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latency.decision import SMALLEST_EFFECT, Verdict
from latency.report import formatting
from latency.report.palette import BAD, FAINT, GOOD, GRID, PAPER, SERIES, UNSURE
from latency.report.plot_labels import is_ours, label_curves, label_points
from latency.report.view import Bars, Forest, Lines, Plot, Samples, Scatter
from latency.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX<>"
_DASHES = ("-", "--", "-.", ":")
_VERDICTS = {Verdict.FASTER: (GOOD, "<"), Verdict.SLOWER: (BAD, ">"), Verdict.UNDECIDED: (UNSURE, "o")}
_FEW = 3
_FAR = 3
"""Samples are drawn on a logarithmic axis if one exceeds this multiple of the median."""


def _lines(axes: Axes, plot: Lines) -> None:
    for index, curve in enumerate(plot.curves):
        colour, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
        known = [i for i, (x, y) in enumerate(zip(curve.xs, curve.ys, strict=True)) if x > 0 and math.isfinite(y)]
        xs, ys = [curve.xs[i] for i in known], [curve.ys[i] for i in known]
        axes.plot(xs, ys, color=colour, linestyle=_DASHES[index // len(SERIES) % len(_DASHES)], linewidth=1.6)
        for hollow in (False, True):
            chosen = [i for i in known if curve.hollow[i] == hollow]
            axes.plot(
                [curve.xs[i] for i in chosen],
                [curve.ys[i] for i in chosen],
                linestyle="none",
                marker=marker,
                markersize=5.5,
                color=colour,
                markerfacecolor=PAPER if hollow else colour,
                markeredgewidth=1.3,
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    xs = sorted({x for curve in plot.curves for x in curve.xs if x > 0})
    axes.set_xticks(_apart(xs), [f"{x:.0f}" for x in _apart(xs)])
    axes.set_xticks([], minor=True)
    _plain_numbers(axes, "y")
    _frame(axes, plot.x_label, plot.y_label, "both")
    label_curves(axes, plot.curves)


def _apart(xs: Sequence[float]) -> list[float]:
    """The ticks that do not overlap with the previous one."""
    ticks: list[float] = []
    span = math.log(xs[-1] / xs[0]) or 1
    for x in xs:
        if not ticks or math.log(x / ticks[-1]) > 0.07 * span:
            ticks.append(x)
    return ticks


def _scatter(axes: Axes, plot: Scatter) -> None:
    ours = sorted(point for point in plot.points if is_ours(point[0]))
    axes.set_xscale("log")
    axes.plot([x for _, x, _ in ours], [y for *_, y in ours], color=SERIES[0], linewidth=1, linestyle=":", zorder=1)
    for label, x, y in plot.points:
        marker, colour, size = ("o", SERIES[0], 7) if is_ours(label) else ("s", FAINT, 5)
        axes.plot(x, y, marker, color=colour, markersize=size)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.25)
    axes.margins(y=0.12)
    _plain_numbers(axes, "x")
    _frame(axes, plot.x_label, plot.y_label, "both")
    label_points(axes, plot.points)


def _bars(axes: Axes, plot: Bars) -> None:
    positions = range(len(plot.rows))
    left = [0.0] * len(plot.rows)
    for number, name in enumerate(plot.classes):
        shares = [shares[number] for _, shares in plot.rows]
        colour = SERIES[number % len(SERIES)]
        axes.barh(positions, shares, left=left, height=0.62, color=colour, edgecolor=PAPER, linewidth=1.2, label=name)
        for position, share in enumerate(shares):
            if share >= 0.06:
                axes.text(
                    left[position] + share / 2, position, f"{share:.0%}", color=PAPER, ha="center", va="center",
                    fontsize=8, fontweight="bold",
                )  # fmt: skip
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(positions, [label for label, _ in plot.rows])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=4,
        frameon=False,
        handlelength=0.9,
        fontsize=8,
    )


def _forest(axes: Axes, plot: Forest) -> None:
    ratios = [value for _, low, _, high, *_ in plot.rows for value in (low, high)]
    least, most = min(*ratios, 1 / (1 + SMALLEST_EFFECT)), max(*ratios, 1 + SMALLEST_EFFECT)
    axes.axvline(1, color=FAINT, linewidth=1, zorder=1)
    for position, (_, low, estimate, high, noise, verdict) in enumerate(plot.rows):
        left, right = max(least, 1 / (1 + noise)), min(most, 1 + noise)
        axes.barh(position, right - left, left=left, height=1, color=GRID, linewidth=0, zorder=0)
        ratio = formatting.interval(Interval(estimate, low, high))
        colour, marker = _VERDICTS[Verdict(verdict)]
        axes.plot([low, high], [position, position], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(
            estimate,
            position,
            marker,
            color=colour,
            markersize=7,
            markerfacecolor=PAPER if verdict == Verdict.UNDECIDED else colour,
        )
        axes.annotate(
            f"{ratio}  {verdict}",
            (1.01, position),
            xycoords=("axes fraction", "data"),
            verticalalignment="center",
            color=colour,
            annotation_clip=False,
        )
    axes.set_xscale("log")
    margin = (most / least) ** 0.06
    axes.set_xlim(least / margin, most * margin)
    axes.set_yticks(range(len(plot.rows)), [label for label, *_ in plot.rows])
    axes.set_ylim(len(plot.rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _plain_numbers(axes, "x")
    _frame(axes, f"time relative to {plot.baseline}", "", "x")


def _strip(axes: Axes, plot: Samples) -> None:
    for start in plot.starts[1:]:
        axes.axvline(start - 0.5, color=GRID, linewidth=0.8, zorder=0)
    axes.axhline(plot.median, color=FAINT, linewidth=0.8, zorder=1)
    for is_outlier, colour, size in ((False, SERIES[0], 2.6), (True, BAD, 4.5)):
        xs, ys = [], []
        for index, sample, flagged in plot.points:
            if flagged == is_outlier:
                xs += [index, index, math.nan]  # one path of dots is a tenth of the size of separate markers
                ys += [sample, sample, math.nan]
        axes.plot(xs, ys, color=colour, linewidth=size, solid_capstyle="round")
    if (
        max(sample for _, sample, _ in plot.points)
        > _FAR * plot.median
        > 0
        < min(sample for _, sample, _ in plot.points)
    ):
        axes.set_yscale("log")
    axes.set_xlim(-0.02 * plot.count - 0.5, 1.02 * plot.count)
    axes.margins(y=0.15)
    _plain_numbers(axes, "y")
    _frame(axes, "samples in order, milliseconds; a line between rounds", "", "")


def _plain_numbers(axes: Axes, which: str) -> None:
    """Set ticks at 1, 2 and 5 of each decade, formatted like numbers in tables."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    wide = axis.get_scale() == "log" and high / low > 8
    locator = (
        LogLocator(subs=(1, 2, 5) if high / low < 1500 else (1,)) if wide else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    )
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: formatting.number(value)))


def _frame(axes: Axes, x_label: str, y_label: str, grid: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_axisbelow(True)
    if grid == "both":
        axes.grid(color=GRID, linewidth=0.7)
    elif grid:
        axes.grid(axis="x", color=GRID, linewidth=0.7)


def draw(axes: Axes, plot: Plot | Samples) -> None:
    """Draw a plot on axes."""
    match plot:
        case Lines():
            _lines(axes, plot)
        case Scatter():
            _scatter(axes, plot)
        case Bars():
            _bars(axes, plot)
        case Forest():
            _forest(axes, plot)
        case Samples():
            _strip(axes, plot)


def height_of(plot: Plot | Samples) -> float:
    """The height of a plot, inches."""
    match plot:
        case Lines():
            return 4.2 if any(len(curve.xs) > _FEW for curve in plot.curves) else 2.8
        case Scatter():
            return 3.8 + 0.06 * len(plot.points)
        case Bars():
            return 0.9 + 0.42 * len(plot.rows)
        case Forest():
            return 0.8 + 0.3 * len(plot.rows)
        case Samples():
            return 1.5
