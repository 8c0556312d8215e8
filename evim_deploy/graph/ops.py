"""The definition of each operation of a graph: one row of one table.

:data:`OPS` has the meaning, the weights, the attributes and the shapes. :mod:`evim_deploy.graph.interpreter` has the
evaluation in torch, which this module does not import, and :mod:`evim_deploy.proof.operations.arithmetic` the
rounding error; tests check that both cover the table, and that each exporter handles or refuses each operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evim_deploy.graph import shapes
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.shapes import Shape, ShapeRule


@dataclass(frozen=True, kw_only=True)
class OpDefinition:
    """One operation.

    Attributes:
        meaning: The outputs as a formula or in words.
        shapes: The rule for the shapes of the outputs.
        weights: Shape of each weight, by name.
        optional_weights: The same of the weights that may be absent.
        attributes: Names of the attributes.
        optional_attributes: Names of the attributes that may be absent.
    """

    meaning: str
    shapes: ShapeRule
    weights: Mapping[str, str] = field(default_factory=dict)
    optional_weights: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    optional_attributes: tuple[str, ...] = ()

    def fault(self, node: Node) -> str:
        """The weight or attribute that an operation lacks or should not have; empty if there is none."""
        optional = {*self.optional_attributes, *_ANY_OP}
        for kind, actual, required, allowed in (
            ("weight", node.weights.keys(), {*self.weights}, {*self.optional_weights}),
            ("attribute", node.attributes.keys(), {*self.attributes}, optional),
        ):
            if missing := required - actual:
                return f"missing {kind} {sorted(missing)}"
            if unknown := actual - required - allowed:
                return f"unknown {kind} {sorted(unknown)}"
        return ""


_ANY_OP = ("floating",)
"""Attributes of any operation: ``floating`` computes in floating point where others compute in integers."""


def infer_shapes(graph: Graph, image: Shape) -> dict[str, Shape]:
    """The shape of every value of a graph, by name.

    Args:
        graph: The graph.
        image: Shape of its input, (B, 3, H, W); an axis may be a name.
    """
    inferred: dict[str, Shape] = {graph.input_name: image}
    for node in graph.nodes:
        results = OPS[node.op].shapes(node, [inferred[value] for value in node.inputs])
        inferred.update(zip(node.outputs, results, strict=True))
    return inferred


def validate(graph: Graph) -> None:
    """Check that each operation fits its definition, and that each value is computed once and before it is read.

    Raises:
        ValueError: The graph is malformed; the message names the operation.
    """
    known = {graph.input_name}
    for node in graph.nodes:
        if node.op not in OPS:
            raise ValueError(f"{node.name}: unknown operation {node.op!r}")
        if fault := OPS[node.op].fault(node):
            raise ValueError(f"{node.name}: {fault} of {node.op!r}")
        if missing := [value for value in node.inputs if value not in known]:
            raise ValueError(f"{node.name}: reads {missing} before they are computed")
        if twice := known.intersection(node.outputs):
            raise ValueError(f"{node.name}: computes {sorted(twice)} a second time")
        known.update(node.outputs)
    if unknown := set(graph.outputs.values()) - known:
        raise ValueError(f"outputs {sorted(unknown)} are not computed")


_PER_CHANNEL = "(C), or (1) for all channels"

OPS: Mapping[str, OpDefinition] = {
    "conv": OpDefinition(
        meaning="2-D convolution of a map",
        shapes=shapes.conv,
        weights={"kernel": "(O, I / groups, kh, kw)"},
        optional_weights={"bias": "(O)"},
        attributes=("stride", "padding", "groups"),
    ),
    "pointwise_conv": OpDefinition(
        meaning="kernel x, a convolution of states with a kernel of one element",
        shapes=shapes.kernel_rows,
        weights={"kernel": "(O, I)"},
    ),
    "linear": OpDefinition(
        meaning="kernel x + bias, of a vector",
        shapes=shapes.kernel_rows,
        weights={"kernel": "(O, I)", "bias": "(O)"},
    ),
    "batch_norm": OpDefinition(
        meaning="gamma (x - mean) / sqrt(variance + eps) + beta, of a map",
        shapes=shapes.same,
        weights={"gamma": "(C)", "beta": "(C)", "mean": "(C)", "variance": "(C)"},
        attributes=("eps",),
    ),
    "layer_norm": OpDefinition(
        meaning="(x - mean) / sqrt(variance + eps) over channels, with the biased variance and no affine part",
        shapes=shapes.same,
        attributes=("eps",),
    ),
    "scale": OpDefinition(meaning="scale * x", shapes=shapes.same, weights={"scale": _PER_CHANNEL}),
    "shift": OpDefinition(meaning="x + bias", shapes=shapes.same, weights={"bias": _PER_CHANNEL}),
    "add": OpDefinition(meaning="x + y, broadcast", shapes=shapes.broadcast),
    "subtract": OpDefinition(meaning="x - y, broadcast", shapes=shapes.broadcast),
    "multiply": OpDefinition(meaning="x * y, broadcast", shapes=shapes.broadcast),
    "relu": OpDefinition(meaning="max(x, 0)", shapes=shapes.same),
    "sigmoid": OpDefinition(meaning="1 / (1 + exp(-x))", shapes=shapes.same),
    "silu": OpDefinition(meaning="x * sigmoid(x)", shapes=shapes.same),
    "exp": OpDefinition(meaning="e^x of x up to 0", shapes=shapes.same),
    "power": OpDefinition(
        meaning="(x + eps)^exponent of x from 0 on", shapes=shapes.same, attributes=("eps", "exponent")
    ),
    "softmax_tokens": OpDefinition(
        meaning="softmax of tokens over L; with spread times spread(L)",
        shapes=shapes.same,
        optional_attributes=("spread",),
    ),
    "softmax_channels": OpDefinition(meaning="softmax of a vector over C", shapes=shapes.same),
    "split": OpDefinition(
        meaning="the channels in sections, one output each", shapes=shapes.split, attributes=("sections",)
    ),
    "concat": OpDefinition(meaning="vectors along channels", shapes=shapes.concat),
    "flatten": OpDefinition(meaning="a map as tokens, a view", shapes=shapes.flatten),
    "unflatten": OpDefinition(
        meaning="tokens as a map with H and W of the second input, a view", shapes=shapes.unflatten
    ),
    "state_update": OpDefinition(
        meaning="tokens u (B, D, L), tokens w (B, N, L) to states u w^T (B, D, N); with spread divided by spread(L)",
        shapes=shapes.state_update,
        optional_attributes=("spread",),
    ),
    "state_readout": OpDefinition(
        meaning="states h (B, D, N), tokens c (B, N, L) to tokens h c (B, D, L)", shapes=shapes.state_readout
    ),
    "sum_tokens": OpDefinition(
        meaning="tokens (B, N, L) to their sum, one channel of states (B, 1, N), or with keep one token (B, N, 1); "
        "with spread divided by spread(L)",
        shapes=shapes.sum_tokens,
        optional_attributes=("spread", "keep"),
    ),
    "max_tokens": OpDefinition(meaning="the maximum of tokens over L, (B, C, 1)", shapes=shapes.max_tokens),
    "mean": OpDefinition(
        meaning="the mean over all axes after channels, to a vector, or with keep to (B, C, 1, 1)",
        shapes=shapes.mean,
        attributes=("keep",),
    ),
    "mean_channels": OpDefinition(meaning="the mean of a map over C, (B, 1, H, W)", shapes=shapes.mean_channels),
}

INTEGER_FORM_OPS = frozenset(["subtract", "mean_channels", "max_tokens", "exp", "power"])
"""The operations that :mod:`evim_deploy.quantise.integer_forms` writes and a network as published does not have."""
