"""The network as a list of operations: what the rewrites change and the exporters emit.

A graph knows no framework and no memory layout. Its operations are those of the mathematics, and
their shapes are written channels-first; each exporter lays them out as its format likes. Weights
are float64 until an exporter rounds them.

Kinds of value:   map (B, C, H, W)    tokens (B, C, L), a view of a map with L = H * W
                  states (B, C, N)    vector (B, C)

================  ====================================================================================
operation         meaning
================  ====================================================================================
conv              2-D convolution of a map: ``kernel`` (O, I/groups, kh, kw), ``bias`` (O) optional;
                  attributes ``stride``, ``padding``, ``groups``
project           1x1 convolution of states: ``kernel`` (O, I)
linear            of a vector: ``kernel`` (O, I), ``bias`` (O)
batch_norm        inference BatchNorm of a map: ``gain``, ``bias``, ``mean``, ``variance`` (C); ``eps``
layer_norm        (x - mean) / sqrt(variance + eps) over channels, biased variance, no affine part
scale             x * ``factor``, per channel (C) or one for all (1)
shift             x + ``offset``, per channel (C) or one for all (1)
add               of two values of equal shape, or a map and a (B, C, 1, 1) one
multiply          likewise, or of a map and a (B, 1, H, W) one, of tokens and (B, 1, L) or (B, N, 1) ones
relu              max(x, 0)
sigmoid           1 / (1 + exp(-x))
silu              x * sigmoid(x)
softmax_tokens    of tokens, over L; where ``spread`` is set, times :func:`spread` of L
softmax_channels  of a vector, over C
split             of channels into ``sections``, several outputs
flatten           map to tokens, a view
unflatten         tokens to a map with the H and W of the second input, a view
write             (tokens u (B, D, L), tokens w (B, N, L)) -> u w^T, states (B, D, N); with ``spread`` divided by it
read              (states h (B, D, N), tokens c (B, N, L)) -> h c, tokens (B, D, L)
sum_tokens        tokens (B, N, L) -> their sum as one channel of states (B, 1, N); with ``spread`` divided by it;
                  with ``keep`` as one token (B, N, 1)
mean              over all axes after channels: to a vector, or to (B, C, 1, 1) with ``keep``
concat            of vectors, along channels
subtract          of two values, broadcast as multiply does
mean_channels     of a map, over C: (B, 1, H, W)
max_tokens        of tokens, over L: (B, C, 1)
exp               e^x of x up to 0
power             (x + ``eps``) ^ ``exponent`` of x from 0 on
================  ====================================================================================

The last five stand in no network as it is published: forms for integers are written in them.
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
"""Ends the name of a value that a rewrite left in other units than the model's, a factor for each channel."""

OPERATIONS = frozenset(
    [
        "conv",
        "pointwise_conv",
        "linear",
        "batch_norm",
        "layer_norm",
        "scale",
        "shift",
        "add",
        "multiply",
        "relu",
        "sigmoid",
        "silu",
        "softmax_tokens",
        "softmax_channels",
        "split",
        "flatten",
        "unflatten",
        "state_update",
        "state_readout",
        "sum_tokens",
        "mean",
        "concat",
        "subtract",
        "mean_channels",
        "max_tokens",
        "exp",
        "power",
    ]
)


MANY_TOKENS = 16384
"""So many share a weight of 1 as float16's smallest normal number each, 2^-14."""


def spread(tokens: int) -> float:
    """What keeps their weights in float16's range: the power of two next to the root of many tokens, 1 of fewer."""
    return 2.0 ** round(log2(tokens) / 2) if tokens >= MANY_TOKENS else 1.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. Its name is that of its first output, a path in the model's own naming.

    ``encodings`` says of some weights how they are stored in few bits; these weights are the decoded values.
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

    def sections(self) -> tuple[int, ...]:
        """Channels of each output of a split."""
        return cast("tuple[int, ...]", self.attributes["sections"])

    def eps(self) -> float:
        """What a norm adds to the variance."""
        return self.real("eps")

    def real(self, attribute: str) -> float:
        """An attribute that is one number (eps, exponent)."""
        return cast(float, self.attributes[attribute])

    @property
    def is_floating(self) -> bool:
        """Whether this stays in floating point where others of its kind compute in integers."""
        return bool(self.attributes.get("floating"))

    def spread(self, tokens: int) -> float:
        """What the weights of so many tokens are multiplied by here."""
        return spread(tokens) if self.attributes.get("spread") else 1.0

    def with_weights(self, **weights: Array) -> Node:
        """The same operation with some weights replaced or added."""
        return replace(self, weights={**self.weights, **weights})

    def encoded(self, **encodings: Encoding) -> Node:
        """The same operation with some weights in few bits."""
        node = self.with_weights(**{name: encoding.decoded() for name, encoding in encodings.items()})
        return replace(node, encodings={**self.encodings, **encodings})

    @property
    def is_depthwise(self) -> bool:
        """Whether this is a convolution of each channel by itself."""
        return self.op == "conv" and self.integer("groups") == len(self.weights["kernel"]) > 1


class Graph:
    """Operations in the order of their computation, one input, named outputs.

    Args:
        input_name: Name of the input value, an image map (B, 3, H, W).
        nodes: Operations, each after those whose values it takes.
        outputs: Name of each output and the value that it is.
        grids: By name the values, the input among them, that are rounded once they are computed, and to what.
    """

    def __init__(
        self,
        input_name: str,
        nodes: Iterable[Node] = (),
        outputs: Mapping[str, str] | None = None,
        qparams: Mapping[str, QuantParams] | None = None,
    ) -> None:
        self.input_name = input_name
        self.nodes = list(nodes)
        self.outputs = dict(outputs or {})
        self.qparams = dict(qparams or {})

    def copy(self) -> Graph:
        return Graph(self.input_name, self.nodes, self.outputs, self.qparams)

    def add(
        self,
        op: str,
        inputs: Iterable[str],
        name: str,
        weights: Mapping[str, Array] | None = None,
        outputs: tuple[str, ...] | None = None,
        **attributes: Attribute,
    ) -> str:
        """Append an operation and return the name of its (first) output."""
        node = Node(
            op=op, inputs=tuple(inputs), outputs=outputs or (name,), weights=dict(weights or {}), attributes=attributes
        )
        self.nodes.append(node)
        return node.name

    def producer(self, value: str) -> Node | None:
        """The operation that computes a value; None for the graph's input."""
        return next((node for node in self.nodes if value in node.outputs), None)

    def consumers(self, value: str) -> list[Node]:
        """The operations that take a value."""
        return [node for node in self.nodes if value in node.inputs]

    def last_uses(self) -> dict[str, list[str]]:
        """The values that nothing needs after an operation, by its name; outputs are needed to the end."""
        last = {value: node.name for node in self.nodes for value in (*node.outputs, *node.inputs)}
        expiring: dict[str, list[str]] = {}
        for value, name in last.items():
            if not self.is_output(value):
                expiring.setdefault(name, []).append(value)
        return expiring

    def is_output(self, value: str) -> bool:
        return value in self.outputs.values()

    def sole_consumer(self, value: str) -> Node | None:
        """The one operation that takes a value, None if there are more or it is an output."""
        users = self.consumers(value)
        return users[0] if len(users) == 1 and not self.is_output(value) else None

    def substitute(self, old: Node, *new: Node) -> None:
        """Put operations where one stands; they must produce all of its outputs that are used."""
        at = self.nodes.index(old)
        self.nodes[at : at + 1] = new

    def reconnect(self, old: str, new: str) -> None:
        """Let everything that takes one value take another."""
        self.nodes = [
            replace(node, inputs=tuple(new if value == old else value for value in node.inputs))
            if old in node.inputs
            else node
            for node in self.nodes
        ]
        self.outputs = {name: new if value == old else value for name, value in self.outputs.items()}

    def bypass(self, node: Node) -> None:
        """Remove an operation of one output; its users take its first input instead."""
        self.nodes.remove(node)
        self.reconnect(node.name, node.inputs[0])

    def prune(self) -> None:
        """Remove every operation that no output depends on."""
        needed = set(self.outputs.values())
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]

    def counts(self) -> Counter[str]:
        """How many operations of each kind there are."""
        return Counter(node.op for node in self.nodes)

    def validate(self) -> None:
        """Check that each value is produced once and before it is taken.

        Raises:
            ValueError: The graph is malformed, saying where.
        """
        known = {self.input_name}
        for node in self.nodes:
            if node.op not in OPERATIONS:
                raise ValueError(f"{node.name}: no operation {node.op!r}")
            missing = [value for value in node.inputs if value not in known]
            if missing:
                raise ValueError(f"{node.name}: takes {missing} before anything produces it")
            twice = known.intersection(node.outputs)
            if twice:
                raise ValueError(f"{node.name}: {sorted(twice)} is produced twice")
            known.update(node.outputs)
        unknown = set(self.outputs.values()) - known
        if unknown:
            raise ValueError(f"outputs {sorted(unknown)} are not produced")
