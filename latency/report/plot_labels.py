"""Labels in plots, placed beside their points without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from latency.report.palette import FAINT, GRID, INK, SERIES
from latency.report.view import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LETTER_WIDTH_PT = 5.6
_Box = tuple[float, float, float, float]
"""Left, bottom, right and top, pixels."""

_AROUND = [(side, shift) for shift in (0, 14, -14, 28, -28, 42, -42) for side in ("left", "right")]
"""Positions of a label to try: the side of the label at the point, and the vertical shift in pixels."""


def label_curves(axes: Axes, curves: Sequence[Curve]) -> None:
    """Label each curve at its right end, moved up or down to avoid overlaps."""
    points = [(index, _last(curve)) for index, curve in enumerate(curves)]
    ends = sorted((math.log(y), index, x, y) for index, (x, y) in points)
    low, high = (math.log(limit) for limit in axes.get_ylim())
    gap = 0.052 * (high - low)
    heights: list[float] = []
    for height, *_ in ends:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    overshoot = max(0.0, heights[-1] - high) if heights else 0.0
    near, far = axes.get_xlim()
    right = far * (far / near) ** 0.01
    for (_, index, x, y), height in zip(ends, heights, strict=True):
        axes.annotate(
            curves[index].label,
            xy=(x, y),
            xytext=(right, math.exp(height - overshoot)),
            textcoords="data",
            color=SERIES[index % len(SERIES)],
            verticalalignment="center",
            annotation_clip=False,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": GRID, "shrinkA": 1, "shrinkB": 5, "linewidth": 0.8},
        )


def _last(curve: Curve) -> tuple[float, float]:
    return max((x, y) for x, y in zip(curve.xs, curve.ys, strict=True) if math.isfinite(y))


def is_ours(label: str) -> bool:
    """Whether a label is the name of an EfficientViM model."""
    return label.startswith("EfficientViM")


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def label_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Label each point at the first position around it without another label or point."""
    cast("Figure", axes.figure).draw_without_rendering()  # settles the position of the axes
    occupied = [(x - 4, y - 4, x + 4, y + 4) for x, y in axes.transData.transform([point[1:] for point in points])]
    for label, x, y in sorted(points, key=lambda point: (not is_ours(point[0]), *point)):
        at_x, at_y = axes.transData.transform((x, y))
        width = _LETTER_WIDTH_PT * len(label) * axes.figure.dpi / 72
        for side, shift in _AROUND:
            left = at_x + 8 if side == "left" else at_x - 8 - width
            box = (left, at_y + shift - 6, left + width, at_y + shift + 6)
            if box[0] > axes.bbox.x0 and not any(_overlap(box, other) for other in occupied):
                break
        occupied.append(box)
        axes.annotate(
            label,
            (x, y),
            xytext=(7 if side == "left" else -7, 72 * shift / axes.figure.dpi),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkB": 3} if shift else None,
            horizontalalignment=side,
            verticalalignment="center",
            color=SERIES[0] if is_ours(label) else INK,
            fontweight="bold" if is_ours(label) else "normal",
        )
