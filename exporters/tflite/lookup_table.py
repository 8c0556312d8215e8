"""A function of 8 bits as two 1x1 convolutions, which LiteRT's delegate computes; it has no operation for a table.

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
import torch

from evim_deploy.graph.interpreter import round_to, step
from evim_deploy.graph.ir import Node
from evim_deploy.graph.quantised import QuantParams
from exporters.tflite.values import Values
from exporters.tflite.writer import Quantised

_STEPS = QuantParams(1 / 255, 0, 0, 255)
"""Of the steps, which are 0 or 1."""

_HALF = 63  # what a line gives at its step's code, in codes of its weight; before it as much less than 0

_MOST = 127  # of a weight


@dataclass(frozen=True)
class Table:
    """Integers of both convolutions.

    Attributes:
        slopes: Kernel of the first, (K,).
        offsets: Its bias, (K,).
        heights: Kernel of the second, (K,).
        base: What that adds to, in codes.
    """

    slopes: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int8]
    base: int


def table(codes: npt.NDArray[np.int64], source: QuantParams, target: QuantParams) -> Table:
    """The convolutions that turn code c of a grid into ``codes[c]`` of another; codes count from 0."""
    rest = np.diff(codes, prepend=codes[:1])
    found: list[tuple[int, int]] = []
    while rest.any():  # more than once where a step is higher than one weight can say
        heights = np.clip(rest, -_MOST, _MOST)
        found += [(int(place), int(heights[place])) for place in np.flatnonzero(heights)]
        rest = rest - heights
    places, heights = np.array(found or [(1, 0)]).T
    return Table(
        np.full(len(places), 2 * _HALF, np.int8),
        (_HALF + 2 * _HALF * (source.zero_point - places)).astype(np.int32),
        heights.astype(np.int8),
        int(codes[0]) - target.zero_point,
    )


def codes_of(node: Node, source: QuantParams, target: QuantParams) -> npt.NDArray[np.int64]:
    """What an operation of one value gives for each code of a grid, as codes of another; both from 0."""
    x = (torch.arange(source.least, source.most + 1) - source.zero_point) * source.scale
    given = round_to(target, step(node, {}, {node.inputs[0]: x})[node.name])
    return np.asarray(torch.round(given / target.scale) + target.zero_point).astype(np.int64)


def add_table(values: Values, node: Node, source: QuantParams, target: QuantParams) -> None:
    """Write an operation of one value, from one grid to another, as such convolutions."""
    (x,), (given,) = values.inputs(node), values.outputs(node)
    batch, height, width, channels = values.shapes[node.name]
    if channels == 1:
        _add(values, node, x, given)
        return
    single = (batch, height, width * channels, 1)
    column, looked_up = (
        values.new(f"{node.name}/column", single, source),
        values.new(f"{node.name}/found", single, target),
    )
    values.reshape(f"{node.name}/column", x, column)
    _add(values, node, column, looked_up)
    values.reshape(node.name, looked_up, given)


def _add(values: Values, node: Node, x: int, given: int) -> None:
    """The convolutions of a map of one channel."""
    source, target = (values.grid(node, value) for value in (node.inputs[0], node.name))
    assert source is not None
    assert target is not None
    found = table(codes_of(node, source, target), source, target)
    count, constant = len(found.heights), values.writer.tensor
    line = np.float32(1 / _HALF) / np.float32(source.scale)  # of a weight, so that a product is 1 / _HALF
    step_ = np.float32(target.scale)
    slopes, heights = Quantised(np.full(count, line, np.float32)), Quantised(np.array([step_]))
    offsets = Quantised(np.full(count, line * np.float32(source.scale), np.float32))
    base = Quantised(np.array([step_ * np.float32(_STEPS.scale)]))
    steps = values.new(f"{node.name}/steps", (*values.writer.shape(x)[:-1], count), _STEPS)
    first = [
        x,
        constant(f"{node.name}/slopes", (count, 1, 1, 1), np.int8, slopes, found.slopes),
        constant(f"{node.name}/offsets", (count,), np.int32, offsets, found.offsets),
    ]
    second = [
        steps,
        constant(f"{node.name}/heights", (1, 1, 1, count), np.int8, heights, found.heights),
        constant(f"{node.name}/base", (1,), np.int32, base, np.array([found.base * _STEPS.most])),
    ]
    for inputs, output in ((first, steps), (second, given)):
        values.writer.operator("CONV_2D", inputs, [output], 3, "Conv2D", padding=1, strideH=1, strideW=1)
