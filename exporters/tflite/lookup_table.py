"""Write a function of 8-bit integers as two 1x1 convolutions: LiteRT's delegate has no look-up table operation.

For an integer c from 0 to 255, the first convolution computes steps and the second adds them:

    step_k(c) = 1 where c >= k, else 0
    f(c)      = f(0) + sum over k of (f(k) - f(k - 1)) step_k(c)

A step is a line so steep that the quantisation of the steps clips it between two neighbouring integers. Both
convolutions are exact in integers for any f. There is no step where f does not change.
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
from exporters.tflite.writer import TensorQuantisation

_STEPS = QuantParams(1 / 255, 0, 0, 255)
"""Quantisation parameters of the steps, which are 0 or 1."""

_HALF = 63  # value of a line at its step, in units of its weight; one integer before it is the negative

_MOST = 127  # largest integer of a weight


@dataclass(frozen=True)
class Table:
    """The integers of both convolutions.

    Attributes:
        slopes: Kernel of the first convolution, (K,).
        offsets: Bias of the first convolution, (K,).
        heights: Kernel of the second convolution, (K,).
        base: Value that the steps are added to, an integer.
    """

    slopes: npt.NDArray[np.int8]
    offsets: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int8]
    base: int


def table(outputs: npt.NDArray[np.int64], source: QuantParams, target: QuantParams) -> Table:
    """The convolutions that map a quantised input q to ``outputs[q]``; both count from 0."""
    rest = np.diff(outputs, prepend=outputs[:1])
    steps: list[tuple[int, int]] = []
    while rest.any():  # a step that exceeds the range of one weight needs several
        heights = np.clip(rest, -_MOST, _MOST)
        steps += [(int(index), int(heights[index])) for index in np.flatnonzero(heights)]
        rest = rest - heights
    indices, heights = np.array(steps or [(1, 0)]).T
    return Table(
        np.full(len(indices), 2 * _HALF, np.int8),
        (_HALF + 2 * _HALF * (source.zero_point - indices)).astype(np.int32),
        heights.astype(np.int8),
        int(outputs[0]) - target.zero_point,
    )


def quantised_outputs(node: Node, source: QuantParams, target: QuantParams) -> npt.NDArray[np.int64]:
    """Quantised outputs of an operation for each quantised input; both count from 0."""
    x = (torch.arange(source.qmin, source.qmax + 1) - source.zero_point) * source.scale
    given = round_to(target, step(node, {}, {node.inputs[0]: x})[node.name])
    return np.asarray(torch.round(given / target.scale) + target.zero_point).astype(np.int64)


def add_table(values: Values, node: Node, source: QuantParams, target: QuantParams) -> None:
    """Write a unary operation on quantised values as two convolutions."""
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
    """Write both convolutions for a map with one channel."""
    source, target = (values.qparams(node, value) for value in (node.inputs[0], node.name))
    assert source is not None
    assert target is not None
    steps_of = table(quantised_outputs(node, source, target), source, target)
    count, constant = len(steps_of.heights), values.writer.tensor
    line = np.float32(1 / _HALF) / np.float32(source.scale)  # of a weight, so that a product is 1 / _HALF
    step_ = np.float32(target.scale)
    slopes, heights = TensorQuantisation(np.full(count, line, np.float32)), TensorQuantisation(np.array([step_]))
    offsets = TensorQuantisation(np.full(count, line * np.float32(source.scale), np.float32))
    base = TensorQuantisation(np.array([step_ * np.float32(_STEPS.scale)]))
    steps = values.new(f"{node.name}/steps", (*values.writer.shape(x)[:-1], count), _STEPS)
    first = [
        x,
        constant(f"{node.name}/slopes", (count, 1, 1, 1), np.int8, slopes, steps_of.slopes),
        constant(f"{node.name}/offsets", (count,), np.int32, offsets, steps_of.offsets),
    ]
    second = [
        steps,
        constant(f"{node.name}/heights", (1, 1, 1, count), np.int8, heights, steps_of.heights),
        constant(f"{node.name}/base", (1,), np.int32, base, np.array([steps_of.base * _STEPS.qmax])),
    ]
    for inputs, output in ((first, steps), (second, given)):
        values.writer.operator("CONV_2D", inputs, [output], 3, "Conv2D", padding=1, strideH=1, strideW=1)
