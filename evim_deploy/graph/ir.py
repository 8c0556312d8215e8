"""The graph: a network as a list of operations, which the rewrites change and the exporters emit.

A graph has no framework and no memory layout. Its operations are mathematical, and
:mod:`evim_deploy.graph.ops` defines each. Shapes are written channels-first; an exporter chooses the layout
of its format. Weights are float64 until an exporter rounds them.

Kinds of value:   map (B, C, H, W)    tokens (B, C, L), a view of a map with L = H * W
                  states (B, C, N)    vector (B, C)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import log2
from typing import cast

from evim_deploy.graph.quantised import Array, Encoding, QuantParams

Attribute = int | float | bool | tuple[int, ...]

RESCALED = ".rescaled"
"""Ends the name of a value that a rewrite left in other units than the model's, with a scale for each channel."""

MANY_TOKENS = 16384
"""Softmax over this many equal tokens gives each the weight 2^-14, float16's smallest normal number."""


def spread(tokens: int) -> float:
    """The scale that keeps softmax weights over many tokens in float16's range.

    Returns:
        The power of two nearest to the root of the number of tokens; 1 below ``MANY_TOKENS``.
    """
    return 2.0 ** round(log2(tokens) / 2) if tokens >= MANY_TOKENS else 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """One operation of a graph, compared by identity.

    Attributes:
        op: Name of the operation, a key of :data:`evim_deploy.graph.ops.OPS`.
        inputs: Names of the values that it reads.
        outputs: Names of the values that it computes. The first, a path in the model's own naming, is also its name.
        weights: Float64 arrays by name; an encoded weight has its decoded values here.
        attributes: By name.
        encodings: The low-bit encodings of some weights, by name.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Array] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    encodings: Mapping[str, Encoding] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.outputs[0]

    def integer(self, attribute: str) -> int:
        """An attribute that is one integer (stride, padding, groups)."""
        return cast(int, self.attributes[attribute])

    def real(self, attribute: str) -> float:
        """An attribute that is one number (eps, exponent)."""
        return cast(float, self.attributes[attribute])

    def sections(self) -> tuple[int, ...]:
        """Channels of each output of a split."""
        return cast("tuple[int, ...]", self.attributes["sections"])

    def eps(self) -> float:
        """The number that a norm adds to the variance."""
        return self.real("eps")

    @property
    def is_floating(self) -> bool:
        """Whether the operation stays in floating point where others of its kind compute in integers."""
        return bool(self.attributes.get("floating"))

    @property
    def is_depthwise(self) -> bool:
        """Whether the operation convolves each channel by itself."""
        return self.op == "conv" and self.integer("groups") == len(self.weights["kernel"]) > 1

    def spread(self, tokens: int) -> float:
        """The scale of the softmax weights that the operation computes or sums: :func:`spread`, or 1."""
        return spread(tokens) if self.attributes.get("spread") else 1.0

    def with_weights(self, **weights: Array) -> Node:
        """The same operation with some weights replaced or added."""
        return replace(self, weights={**self.weights, **weights})

    def with_attributes(self, **attributes: Attribute) -> Node:
        """The same operation with some attributes replaced or added."""
        return replace(self, attributes={**self.attributes, **attributes})

    def encoded(self, **encodings: Encoding) -> Node:
        """The same operation with some weights encoded in few bits."""
        node = self.with_weights(**{name: encoding.dequantise() for name, encoding in encodings.items()})
        return replace(node, encodings={**self.encodings, **encodings})


class Graph:
    """Operations in the order of their computation, with one input and named outputs.

    Args:
        input_name: Name of the input value, an image map (B, 3, H, W).
        nodes: Operations, each after the producers of its inputs.
        outputs: The value of each output, by the output's name.
        qparams: Quantisation parameters by the name of the value, which is rounded to them once it is computed;
            the input may have some, too.
    """

    def __init__(
        self,
        input_name: str,
        nodes: Iterable[Node] = (),
        outputs: Mapping[str, str] | None = None,
        qparams: Mapping[str, QuantParams] | None = None,
    ) -> None:
        self.input_name = input_name
        self.outputs = dict(outputs or {})
        self.qparams = dict(qparams or {})
        self._set_nodes(nodes)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All operations in order. The methods below change them."""
        return self._nodes

    def _set_nodes(self, nodes: Iterable[Node]) -> None:
        self._nodes = tuple(nodes)
        self._index: _Index | None = None  # built when a producer or consumer is asked for

    def _indexed(self) -> _Index:
        if self._index is None:
            self._index = _Index(self._nodes)
        return self._index

    def copy(self) -> Graph:
        return Graph(self.input_name, self.nodes, self.outputs, self.qparams)

    def add(
        self,
        op: str,
        inputs: Iterable[str],
        name: str,
        weights: Mapping[str, Array] | None = None,
        *,
        outputs: tuple[str, ...] | None = None,
        **attributes: Attribute,
    ) -> str:
        """Append an operation and return the name of its (first) output."""
        node = Node(
            op=op, inputs=tuple(inputs), outputs=outputs or (name,), weights=dict(weights or {}), attributes=attributes
        )
        self._set_nodes((*self._nodes, node))
        return node.name

    def producer(self, value: str) -> Node | None:
        """The operation that computes a value; None for the graph's input."""
        return self._indexed().producers.get(value)

    def consumers(self, value: str) -> tuple[Node, ...]:
        """The operations that read a value, in order."""
        return tuple(self._indexed().consumers.get(value, ()))

    def sole_consumer(self, value: str) -> Node | None:
        """The only operation that reads a value; None if there are more or the value is an output."""
        consumers = self.consumers(value)
        return consumers[0] if len(consumers) == 1 and not self.is_output(value) else None

    def is_output(self, value: str) -> bool:
        return value in self.outputs.values()

    def last_uses(self) -> dict[str, list[str]]:
        """The values that are not read after an operation, by its name. An output is never among them."""
        last = {value: node.name for node in self.nodes for value in (*node.outputs, *node.inputs)}
        expiring: dict[str, list[str]] = {}
        for value, name in last.items():
            if not self.is_output(value):
                expiring.setdefault(name, []).append(value)
        return expiring

    def substitute(self, old: Node, *new: Node) -> None:
        """Replace an operation, at its place, by others that compute all of its outputs that are read."""
        index = self._nodes.index(old)
        self._set_nodes((*self._nodes[:index], *new, *self._nodes[index + 1 :]))

    def reconnect(self, old: str, new: str) -> None:
        """Let all consumers of one value, and the outputs, read another."""
        self._set_nodes(
            replace(node, inputs=tuple(new if value == old else value for value in node.inputs))
            if old in node.inputs
            else node
            for node in self._nodes
        )
        self.outputs = {name: new if value == old else value for name, value in self.outputs.items()}

    def bypass(self, node: Node) -> None:
        """Remove an operation of one output; its consumers read its first input instead."""
        self.substitute(node)
        self.reconnect(node.name, node.inputs[0])

    def prune(self) -> None:
        """Remove every operation that no output depends on."""
        needed = set(self.outputs.values())
        nodes: list[Node] = []
        for node in reversed(self._nodes):
            if needed.intersection(node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
        if len(nodes) < len(self._nodes):
            self._set_nodes(reversed(nodes))

    def counts(self) -> Counter[str]:
        """The number of operations by op."""
        return Counter(node.op for node in self.nodes)


class _Index:
    """The producer of each value and its consumers in order, by the value's name."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.producers: dict[str, Node] = {}
        self.consumers: dict[str, list[Node]] = {}
        for node in nodes:
            for value in node.outputs:
                self.producers.setdefault(value, node)
            for value in dict.fromkeys(node.inputs):
                self.consumers.setdefault(value, []).append(node)
