"""Plot the error of an artifact over its depth."""

from __future__ import annotations

import textwrap
from itertools import groupby
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

from evim_deploy.common.errors import NotInstalled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evim_deploy.proof.operations.report import OpReport, OpsReport

_CUMULATIVE, _LOCAL, _EXPLAINED, _DIVERGENCE = "#1f5fa8", "#e08214", "#8c8c8c", "#c0182b"
_COST = "#5b3c88"
_FLOOR = 1e-9
"""The smallest error that is drawn; an operation that only moves data has none."""

_QUIET = 100.0
"""Signal-to-noise ratio, dB, of float32 rounding; layers above it are not drawn."""

_HEADROOM = 60
"""Factor by which the axis is extended for the text on a divergence."""

_NAMES_OF_PARTS = {"input": "stem", "output": "head"}
"""Parts of one or two operations, which are merged with their neighbours."""


def plot_layers(report: OpsReport, artifact: str, trained: bool, path: Path) -> None:
    """Draw the cumulative and the local error of each operation on a logarithmic axis, as a PNG.

    For a quantised artifact a second panel shows signal-to-noise ratios and names the costliest op.

    Args:
        report: The comparison; it has at least one operation.
        artifact: Name of the artifact, for the title.
        trained: Whether its weights are trained; the title says if they are not.
        path: The PNG file to write.

    Raises:
        NotInstalled: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotInstalled("The plot needs matplotlib.", 'pip install "evim-deploy[plot]"') from error

    costliest = report.costliest
    panels = 1 if costliest is None else 2
    figure = Figure(figsize=(12, 1.6 + 4 * panels), dpi=120, layout="constrained")
    axes, *below = figure.subplots(panels, squeeze=False)[:, 0]
    _draw_errors(axes, report)
    axes.set_ylabel("largest error / largest magnitude")
    axes.set_title(artifact, loc="left", fontweight="bold")
    if not trained:
        axes.set_title("UNTRAINED weights", loc="right", color=_DIVERGENCE, fontweight="bold")
    for panel in below:
        _draw_signal_to_noise(panel, report)
        panel.set_ylabel("signal to noise, dB")
    for panel in figure.axes:
        _draw_parts(panel, report)
    first = report.first
    if first is not None:
        _draw_divergence(axes, report.ops.index(first), first)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def _draw_errors(axes: Axes, report: OpsReport) -> None:
    ops = report.ops
    cumulative = [max(op.cumulative, _FLOOR) if isfinite(op.cumulative) else nan for op in ops]
    axes.semilogy(range(len(ops)), cumulative, color=_CUMULATIVE, lw=1.6, label="cumulative error")
    measured = [(i, op) for i, op in enumerate(ops) if _FLOOR < op.local < inf]
    for label, colour, marker, size, points in (
        ("rounding error bound", _EXPLAINED, "_", 6.0, [(i, op.bound) for i, op in measured]),
        ("local error", _LOCAL, "o", 3.5, [(i, op.local) for i, op in measured if not op.diverges]),
        (
            "local error of a divergence",
            _DIVERGENCE,
            "D",
            5.5,
            [(i, op.local) for i, op in measured if op.diverges],
        ),
    ):
        if points:
            depth, errors = zip(*points, strict=True)
            axes.semilogy(depth, errors, marker, color=colour, ms=size, mew=float(marker == "_"), label=label)
    lost = [i for i, op in enumerate(ops) if not (isfinite(op.cumulative) and isfinite(op.local))]
    if lost:
        of_axes = axes.get_xaxis_transform()  # heights are shares of the axes'
        axes.plot(lost, [0.02] * len(lost), "x", color=_DIVERGENCE, ms=5, transform=of_axes, label="not finite")


def _draw_signal_to_noise(axes: Axes, report: OpsReport) -> None:
    """Draw signal-to-noise ratios: of each value, of its layer by itself, and of the outputs with that layer noisy."""
    for label, colour, style, values in (
        ("signal to noise", _CUMULATIVE, "-", [op.snr_db for op in report.ops]),
        ("layer by itself", _LOCAL, "o", [op.own_snr_db for op in report.ops]),
        ("outputs with this layer alone noisy", _COST, "v", [op.cost_db for op in report.ops]),
    ):
        heights = [nan if value is None or not -inf < value < _QUIET else value for value in values]
        axes.plot(range(len(heights)), heights, style, color=colour, lw=1.6, ms=3.5, label=label)
    costliest = report.costliest
    if costliest is not None and costliest.cost_db is not None and isfinite(costliest.cost_db):
        index = report.ops.index(costliest)
        _point_at(axes, index, f"{costliest.name} costs most: {costliest.cost_db:.0f} dB remain", _COST)


def _draw_parts(axes: Axes, report: OpsReport) -> None:
    """Shade every second part of the model, and label each below the axis."""

    def part(indexed: tuple[int, OpReport]) -> str:
        name = ", ".join(indexed[1].place.split(", ")[:2])
        return _NAMES_OF_PARTS.get(name, name)

    ticks = []
    for number, (name, members) in enumerate(groupby(enumerate(report.ops), part)):
        indices = [index for index, _ in members]
        if number % 2:
            axes.axvspan(indices[0] - 0.5, indices[-1] + 0.5, color="black", alpha=0.045, lw=0)
        ticks.append(((indices[0] + indices[-1]) / 2, name.replace(", ", "\n").replace("down-sampling", "down")))
    axes.set_xticks([position for position, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(report.ops) - 0.5)
    axes.grid(axis="y", alpha=0.25, lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_divergence(axes: Axes, index: int, op: OpReport) -> None:
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * _HEADROOM)
    _point_at(axes, index, f"{op.name} ({op.op}): {op.cause}", _DIVERGENCE)


def _point_at(axes: Axes, index: int, text: str, colour: str) -> None:
    axes.axvline(index, color=colour, lw=1, ls="--")
    is_left = index < axes.get_xlim()[1] / 2
    axes.annotate(
        textwrap.fill(text, 60),
        xy=(index, 0.98),
        xycoords=axes.get_xaxis_transform(),
        xytext=(10 if is_left else -10, 0),
        textcoords="offset points",
        horizontalalignment="left" if is_left else "right",
        multialignment="left",
        verticalalignment="top",
        color=colour,
        fontsize=9,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": colour},
    )
