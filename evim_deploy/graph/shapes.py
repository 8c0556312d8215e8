"""The shape of every value of a graph, channels-first, with named axes where they are dynamic."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from evim_deploy.graph.ir import Graph, Node

Axis = int | str
Shape = tuple[Axis, ...]


def infer_shapes(graph: Graph, image: Shape) -> dict[str, Shape]:
    """Shapes by value name, given that of the image (B, 3, H, W).

    A dynamic side is a name, and ``name/16`` stands for a sixteenth of it, rounded up.
    """
    shapes: dict[str, Shape] = {graph.input_name: image}
    for node in graph.nodes:
        results = _RULES.get(node.op, _same)(node, [shapes[value] for value in node.inputs])
        shapes.update(zip(node.outputs, results, strict=True))
    return shapes


def _same(node: Node, inputs: list[Shape]) -> list[Shape]:
    return inputs[:1]


def _conv(node: Node, inputs: list[Shape]) -> list[Shape]:
    (batch, _, *sides), kernel = inputs[0], node.weights["kernel"]
    reach = kernel.shape[-1] - 2 * node.integer("padding")
    stride = node.integer("stride")
    return [(batch, len(kernel), *(_strided(side, reach, stride) for side in sides))]


def _strided(side: Axis, reach: int, stride: int) -> Axis:
    if isinstance(side, int):
        return (side - reach) // stride + 1
    name, _, divisor = side.partition("/")
    return side if stride == 1 else f"{name}/{int(divisor or 1) * stride}"


def _flatten(node: Node, inputs: list[Shape]) -> list[Shape]:
    batch, channels, height, width = inputs[0]
    tokens = height * width if isinstance(height, int) and isinstance(width, int) else f"{height}*{width}"
    return [(batch, channels, tokens)]


def _split(node: Node, inputs: list[Shape]) -> list[Shape]:
    batch, _, *rest = inputs[0]
    return [(batch, section, *rest) for section in node.sections()]


def _sum_tokens(node: Node, inputs: list[Shape]) -> list[Shape]:
    batch, states, _ = inputs[0]
    return [(batch, states, 1) if node.attributes.get("keep") else (batch, 1, states)]


def _mean(node: Node, inputs: list[Shape]) -> list[Shape]:
    return [(*inputs[0][:2], *((1,) * (len(inputs[0]) - 2) if node.attributes["keep"] else ()))]


_RULES: dict[str, Callable[[Node, list[Shape]], list[Shape]]] = {
    "conv": _conv,
    "pointwise_conv": lambda node, inputs: [(inputs[0][0], len(node.weights["kernel"]), inputs[0][2])],
    "linear": lambda node, inputs: [(inputs[0][0], len(node.weights["kernel"]))],
    "split": _split,
    "flatten": _flatten,
    "unflatten": lambda node, inputs: [(*inputs[0][:2], *inputs[1][2:])],
    "state_update": lambda node, inputs: [(*inputs[0][:2], inputs[1][1])],
    "state_readout": lambda node, inputs: [(*inputs[0][:2], inputs[1][2])],
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "mean_channels": lambda node, inputs: [(inputs[0][0], 1, *inputs[0][2:])],
    "max_tokens": lambda node, inputs: [(*inputs[0][:2], 1)],
    "concat": lambda node, inputs: [(inputs[0][0], sum(cast("int", shape[1]) for shape in inputs))],
}
