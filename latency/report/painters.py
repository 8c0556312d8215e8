"""What draws each kind of plot on matplotlib's axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from latency.judgement import FASTER, SLOWER, SMALLEST_EFFECT, UNDECIDED
from latency.report import words
from latency.report.names import is_ours, name_ends, name_points
from latency.report.palette import BAD, FAINT, GOOD, GRID, PAPER, SERIES, UNSURE
from latency.report.view import Bars, Forest, Lines, Samples, Scatter
from latency.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX<>"
_DASHES = ("-", "--", "-.", ":")
_VERDICTS = {FASTER: (GOOD, "<"), SLOWER: (BAD, ">"), UNDECIDED: (UNSURE, "o")}
_FEW = 3
_FAR = 3
"""Times the median from which on samples are drawn on a logarithmic axis."""


def _lines(axes: Axes, plot: Lines) -> None:
    for place, curve in enumerate(plot.curves):
        colour, marker = SERIES[place % len(SERIES)], _MARKERS[place % len(_MARKERS)]
        known = [i for i, (x, y) in enumerate(zip(curve.xs, curve.ys, strict=True)) if x > 0 and math.isfinite(y)]
        xs, ys = [curve.xs[i] for i in known], [curve.ys[i] for i in known]
        axes.plot(xs, ys, color=colour, linestyle=_DASHES[place // len(SERIES) % len(_DASHES)], linewidth=1.6)
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
    name_ends(axes, plot.curves)


def _apart(xs: Sequence[float]) -> list[float]:
    """Ticks, without those that would run into the one before."""
    kept: list[float] = []
    span = math.log(xs[-1] / xs[0]) or 1
    for x in xs:
        if not kept or math.log(x / kept[-1]) > 0.07 * span:
            kept.append(x)
    return kept


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
    name_points(axes, plot.points)


def _bars(axes: Axes, plot: Bars) -> None:
    places = range(len(plot.rows))
    left = [0.0] * len(plot.rows)
    for number, name in enumerate(plot.classes):
        shares = [shares[number] for _, shares in plot.rows]
        colour = SERIES[number % len(SERIES)]
        axes.barh(places, shares, left=left, height=0.62, color=colour, edgecolor=PAPER, linewidth=1.2, label=name)
        for place, share in enumerate(shares):
            if share >= 0.06:
                axes.text(
                    left[place] + share / 2, place, f"{share:.0%}", color=PAPER, ha="center", va="center", fontsize=8,
                    fontweight="bold",
                )  # fmt: skip
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(places, [label for label, _ in plot.rows])
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
    for place, (_, low, estimate, high, noise, verdict) in enumerate(plot.rows):
        left, right = max(least, 1 / (1 + noise)), min(most, 1 + noise)
        axes.barh(place, right - left, left=left, height=1, color=GRID, linewidth=0, zorder=0)
        told = words.interval(Interval(estimate, low, high))
        colour, marker = _VERDICTS[verdict]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(
            estimate,
            place,
            marker,
            color=colour,
            markersize=7,
            markerfacecolor=PAPER if verdict == UNDECIDED else colour,
        )
        axes.annotate(
            f"{told}  {verdict}",
            (1.01, place),
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
    _frame(axes, f"times the time of {plot.baseline}", "", "x")


def _strip(axes: Axes, plot: Samples) -> None:
    for start in plot.starts[1:]:
        axes.axvline(start - 0.5, color=GRID, linewidth=0.8, zorder=0)
    axes.axhline(plot.median, color=FAINT, linewidth=0.8, zorder=1)
    for is_outlier, colour, size in ((False, SERIES[0], 2.6), (True, BAD, 4.5)):
        xs, ys = [], []
        for place, sample, flagged in plot.points:
            if flagged == is_outlier:
                xs += [place, place, math.nan]  # one path of dots is a tenth of as many markers
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
    """Ticks as the tables write numbers, at 1, 2 and 5 of each decade; few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    wide = axis.get_scale() == "log" and high / low > 8
    locator = (
        LogLocator(subs=(1, 2, 5) if high / low < 1500 else (1,)) if wide else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    )
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: words.number(value)))


def _frame(axes: Axes, x_label: str, y_label: str, grid: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_axisbelow(True)
    if grid == "both":
        axes.grid(color=GRID, linewidth=0.7)
    elif grid:
        axes.grid(axis="x", color=GRID, linewidth=0.7)


PAINTERS: dict[type, tuple[Callable[[Axes, Any], None], Callable[[Any], float]]] = {
    Lines: (_lines, lambda plot: 4.2 if any(len(curve.xs) > _FEW for curve in plot.curves) else 2.8),
    Scatter: (_scatter, lambda plot: 3.8 + 0.06 * len(plot.points)),
    Bars: (_bars, lambda plot: 0.9 + 0.42 * len(plot.rows)),
    Forest: (_forest, lambda plot: 0.8 + 0.3 * len(plot.rows)),
    Samples: (_strip, lambda plot: 1.5),
}
"""What draws each kind of plot, and how many inches high it is."""
