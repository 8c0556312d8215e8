"""A look-up table of 8 bits as two 1x1 convolutions, which LiteRT's delegate computes; it has no operation for one.

Of a code c from 0 to 255 the first gives steps, the second adds them up:

    step_k(c) = 1 where c >= k, else 0
    f(c)      = f(0) + sum over k of (f(k) - f(k - 1)) step_k(c)

A step is a line so steep that the grid of the steps clips it from one code to the next. Both convolutions are exact in
integers, whatever f is. Where f does not change there is no step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evim_deploy.codes import Grid

STEPS = Grid(1 / 255, 0, 0, 255)
"""Of the steps, which are 0 or 1."""

HALF = 63
"""What a line gives at its step's code, in codes of its weights, and less than 0 before it."""

_MOST = 127  # of a weight


@dataclass(frozen=True)
class Table:
    """Integers of both convolutions.

    Attributes:
        slopes: Kernel of the first, (K,).
        offsets: Its bias, (K,).
        heights: Kernel of the second, (K,).
        base: Its bias, in codes of what it gives.
    """

    slopes: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int8]
    base: int


def table(codes: npt.NDArray[np.int64], source: Grid, target: Grid) -> Table:
    """The convolutions that turn code c of a grid into ``codes[c]`` of another; codes count from 0."""
    heights = np.diff(codes, prepend=codes[:1])
    parts = [np.clip(heights, -_MOST, _MOST)]
    while (rest := heights - sum(parts)).any():  # a step that one weight cannot hold
        parts.append(np.clip(rest, -_MOST, _MOST))
    found = [(place, part[place]) for part in parts for place in np.flatnonzero(part)] or [(1, 0)]
    places = np.array([place for place, _ in found])
    return Table(
        np.full(len(found), 2 * HALF, np.int8),
        (HALF + 2 * HALF * (source.zero_point - places)).astype(np.int32),
        np.array([height for _, height in found], np.int8),
        int(codes[0]) - target.zero_point,
    )
