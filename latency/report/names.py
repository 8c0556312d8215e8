"""Names in plots: beside what they name, and never one upon another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from latency.report.palette import FAINT, GRID, INK, SERIES
from latency.report.view import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS_OF_A_LETTER = 5.6
_Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""

_AROUND = [(side, shift) for shift in (0, 14, -14, 28, -28, 42, -42) for side in ("left", "right")]
"""Where a point's name may stand: which side of it is at the point, and how many pixels higher."""


def name_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Each curve's name at its right end, moved up or down where two would meet."""
    points = [(place, _last(curve)) for place, curve in enumerate(curves)]
    ends = sorted((math.log(y), place, x, y) for place, (x, y) in points)
    low, high = (math.log(limit) for limit in axes.get_ylim())
    gap = 0.052 * (high - low)
    heights: list[float] = []
    for height, *_ in ends:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    overshoot = max(0.0, heights[-1] - high) if heights else 0.0
    near, far = axes.get_xlim()
    right = far * (far / near) ** 0.01
    for (_, place, x, y), height in zip(ends, heights, strict=True):
        axes.annotate(
            curves[place].label,
            xy=(x, y),
            xytext=(right, math.exp(height - overshoot)),
            textcoords="data",
            color=SERIES[place % len(SERIES)],
            verticalalignment="center",
            annotation_clip=False,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": GRID, "shrinkA": 1, "shrinkB": 5, "linewidth": 0.8},
        )


def _last(curve: Curve) -> tuple[float, float]:
    return max((x, y) for x, y in zip(curve.xs, curve.ys, strict=True) if math.isfinite(y))


def is_ours(label: str) -> bool:
    return label.startswith("EfficientViM")


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def name_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Each point's name at the first place around it where no other name or point is."""
    cast("Figure", axes.figure).draw_without_rendering()  # so that the axes are where they will be
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in axes.transData.transform([point[1:] for point in points])]
    for label, x, y in sorted(points, key=lambda point: (not is_ours(point[0]), *point)):
        at_x, at_y = axes.transData.transform((x, y))
        width = _POINTS_OF_A_LETTER * len(label) * axes.figure.dpi / 72
        for side, shift in _AROUND:
            left = at_x + 8 if side == "left" else at_x - 8 - width
            box = (left, at_y + shift - 6, left + width, at_y + shift + 6)
            if box[0] > axes.bbox.x0 and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
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
