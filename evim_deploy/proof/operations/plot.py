"""The error of an artifact over its depth, as a picture."""

from __future__ import annotations

import textwrap
from itertools import groupby
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evim_deploy.common.errors import NotInstalled

if TYPE_CHECKING:
    from evim_deploy.proof.operations.report import Layer, LayerReport

_CUMULATIVE, _LOCAL, _EXPLAINED, _DIVERGENCE = "#1f5fa8", "#e08214", "#8c8c8c", "#c0182b"
_COST = "#5b3c88"
_FLOOR = 1e-9
"""The least error that is drawn; an operation that only moves data has none."""

_QUIET = 100.0
"""Signal to noise, dB, above which a layer adds what float32 rounds, and is not drawn."""

_HEADROOM = 60
"""By how much the axis is longer, for the words on a divergence."""

_NAMES_OF_PARTS = {"input": "stem", "output": "head"}
"""Parts of one or two operations go with their neighbours."""


def plot_layers(report: LayerReport, artifact: str, trained: bool, path: Path) -> None:
    """Draw the cumulative and the local error of each operation on a logarithmic axis, as a PNG.

    Of a quantised artifact signal to noise stands below, and the layer to blame for the loss is named.

    Args:
        report: What was found; it has at least one layer.
        artifact: Its name, for the title.
        trained: Whether its weights mean something; the title says where they do not.
        path: Where the picture goes.

    Raises:
        NotInstalled: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotInstalled("The plot needs matplotlib.", 'pip install "evim-deploy[plot]"') from error

    blamed = report.blamed
    panels = 1 if blamed is None else 2
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
        _draw_divergence(axes, report.layers.index(first), first)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def _draw_errors(axes: Any, report: LayerReport) -> None:
    layers = report.layers
    cumulative = [max(layer.cumulative, _FLOOR) if isfinite(layer.cumulative) else nan for layer in layers]
    axes.semilogy(range(len(layers)), cumulative, color=_CUMULATIVE, lw=1.6, label="cumulative error")
    measured = [(i, layer) for i, layer in enumerate(layers) if _FLOOR < layer.local < inf]
    for label, colour, marker, size, points in (
        ("explained by rounding", _EXPLAINED, "_", 6.0, [(i, layer.bound) for i, layer in measured]),
        ("local error", _LOCAL, "o", 3.5, [(i, layer.local) for i, layer in measured if not layer.diverges]),
        (
            "local error of a divergence",
            _DIVERGENCE,
            "D",
            5.5,
            [(i, layer.local) for i, layer in measured if layer.diverges],
        ),
    ):
        if points:
            depth, errors = zip(*points, strict=True)
            axes.semilogy(depth, errors, marker, color=colour, ms=size, mew=float(marker == "_"), label=label)
    lost = [i for i, layer in enumerate(layers) if not (isfinite(layer.cumulative) and isfinite(layer.local))]
    if lost:
        of_picture = axes.get_xaxis_transform()  # heights are shares of the picture's
        axes.plot(lost, [0.02] * len(lost), "x", color=_DIVERGENCE, ms=5, transform=of_picture, label="not finite")


def _draw_signal_to_noise(axes: Any, report: LayerReport) -> None:
    """Of each value, of what its layer adds by itself, and of the outputs where that layer alone is quantised."""
    for label, colour, style, values in (
        ("signal to noise", _CUMULATIVE, "-", [layer.snr_db for layer in report.layers]),
        ("that of the layer by itself", _LOCAL, "o", [layer.own_snr_db for layer in report.layers]),
        ("that which it alone leaves at the outputs", _COST, "v", [layer.cost_db for layer in report.layers]),
    ):
        heights = [nan if value is None or not -inf < value < _QUIET else value for value in values]
        axes.plot(range(len(heights)), heights, style, color=colour, lw=1.6, ms=3.5, label=label)
    blamed = report.blamed
    if blamed is not None and blamed.cost_db is not None and isfinite(blamed.cost_db):
        index = report.layers.index(blamed)
        _point_at(axes, index, f"{blamed.name} costs most: {blamed.cost_db:.0f} dB are left", _COST)


def _draw_parts(axes: Any, report: LayerReport) -> None:
    """Shade every second part of the model, and name each below the axis."""

    def part(indexed: tuple[int, Layer]) -> str:
        name = ", ".join(indexed[1].place.split(", ")[:2])
        return _NAMES_OF_PARTS.get(name, name)

    ticks = []
    for number, (name, members) in enumerate(groupby(enumerate(report.layers), part)):
        indices = [index for index, _ in members]
        if number % 2:
            axes.axvspan(indices[0] - 0.5, indices[-1] + 0.5, color="black", alpha=0.045, lw=0)
        ticks.append(((indices[0] + indices[-1]) / 2, name.replace(", ", "\n").replace("down-sampling", "down")))
    axes.set_xticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(report.layers) - 0.5)
    axes.grid(axis="y", alpha=0.25, lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_divergence(axes: Any, index: int, layer: Layer) -> None:
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * _HEADROOM)
    _point_at(axes, index, f"{layer.name} ({layer.op}): {layer.cause}", _DIVERGENCE)


def _point_at(axes: Any, index: int, words: str, colour: str) -> None:
    axes.axvline(index, color=colour, lw=1, ls="--")
    is_left = index < axes.get_xlim()[1] / 2
    axes.annotate(
        textwrap.fill(words, 60),
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
