"""The shape rule of each operation: from the shapes of its inputs to those of its outputs, channels-first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from evim_deploy.graph.ir import Node

Axis = int | str
"""The length of an axis; a dynamic one is a name, and ``name/16`` is a sixteenth of it, rounded up."""

Shape = tuple[Axis, ...]

ShapeRule = Callable[[Node, Sequence[Shape]], Sequence[Shape]]
"""From an operation and the shapes of its inputs to the shapes of its outputs."""


def same(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    return [inputs[0]]


def broadcast(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    return [tuple(_common(node, *axes) for axes in zip(*inputs, strict=True))]


def _common(node: Node, first: Axis, second: Axis) -> Axis:
    if 1 not in (first, second) and first != second:
        raise ValueError(f"{node.name}: axes of {first} and {second} do not broadcast")
    return second if first == 1 else first


def conv(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    (batch, _, *sides), kernel = inputs[0], node.weights["kernel"]
    reach = kernel.shape[-1] - 2 * node.integer("padding")
    stride = node.integer("stride")
    return [(batch, len(kernel), *(_strided(side, reach, stride) for side in sides))]


def _strided(side: Axis, reach: int, stride: int) -> Axis:
    if isinstance(side, int):
        return (side - reach) // stride + 1
    name, _, divisor = side.partition("/")
    return side if stride == 1 else f"{name}/{int(divisor or 1) * stride}"


def kernel_rows(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, _, *rest = inputs[0]
    return [(batch, len(node.weights["kernel"]), *rest)]


def split(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, _, *rest = inputs[0]
    return [(batch, section, *rest) for section in node.sections()]


def flatten(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, channels, height, width = inputs[0]
    tokens = height * width if isinstance(height, int) and isinstance(width, int) else f"{height}*{width}"
    return [(batch, channels, tokens)]


def unflatten(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    tokens, like = inputs
    return [(*tokens[:2], *like[2:])]


def state_update(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    (batch, channels, _), (_, states, _) = inputs
    return [(batch, channels, states)]


def state_readout(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    (batch, channels, _), (_, _, tokens) = inputs
    return [(batch, channels, tokens)]


def sum_tokens(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, states, _ = inputs[0]
    return [(batch, states, 1) if node.attributes.get("keep") else (batch, 1, states)]


def mean(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, channels, *rest = inputs[0]
    return [(batch, channels, *((1,) * len(rest) if node.attributes["keep"] else ()))]


def mean_channels(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    batch, _, *rest = inputs[0]
    return [(batch, 1, *rest)]


def max_tokens(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    return [(*inputs[0][:2], 1)]


def concat(node: Node, inputs: Sequence[Shape]) -> list[Shape]:
    return [(inputs[0][0], sum(cast("int", shape[1]) for shape in inputs))]
