"""Placement of quantisation: the layers and the values of a graph that a scheme quantises."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.quantise.schemes import WEIGHTED, Scheme

VIEWS = ("flatten", "unflatten", "split", "max_tokens")
"""Operations that compute nothing: their outputs have the quantisation parameters of their input."""


def quantisable_layers(graph: Graph, scheme: Scheme) -> list[str]:
    """Names of the operations that a scheme quantises, each of which may stay in floating point instead.

    Operations without weights are not listed: a ReLU follows its producer, a view its input, others their consumers.
    """
    return [node.name for node in graph.nodes if _is_listed(node) and _is_quantised(node, scheme)]


def quantised_values(graph: Graph, scheme: Scheme, float_layers: Collection[str] = ()) -> dict[str, str]:
    """The values that are quantised, each with its root: the value whose range is calibrated, of views their input.

    Inputs and outputs of integer operations are quantised, except for the input of a fused ReLU. An addition computes
    in integers where one of its terms is quantised anyway: engines add floats just as fast.

    Args:
        graph: The rewritten network in floating point.
        scheme: Scheme of the precision.
        float_layers: Names of the operations that stay in floating point.
    """
    values: set[str] = set()
    relus = {node.name: relu.name for node in graph.nodes if (relu := fused_relu(graph, node, scheme))}
    float_layers = _with_followers(graph, float_layers, relus)
    computed = [node for node in graph.nodes if is_integer(node, scheme) and node.name not in float_layers]
    for node in sorted(computed, key=lambda node: node.op == "add"):
        if node.op != "add" or values.intersection(node.inputs):
            values.update(node.inputs, () if node.op in scheme.float_output_ops else node.outputs)
    values -= relus.keys()
    roots: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in VIEWS:
            root = roots.get(node.inputs[0], node.inputs[0])
            roots.update(dict.fromkeys(node.outputs, root))
    values |= {roots[value] for value in values if value in roots}
    quantised = {value: roots.get(value, value) for value in values}
    return quantised | {value: root for value, root in roots.items() if root in values}


def _is_listed(node: Node) -> bool:
    """Whether an operation is listed as a layer: it has weights, or adds."""
    return bool(node.weights) or node.op == "add"


def _with_followers(graph: Graph, float_layers: Collection[str], relus: Mapping[str, str]) -> set[str]:
    """Float layers with their fused ReLUs, and with the unlisted operations that only such layers consume."""
    names = {*float_layers, *(relus[name] for name in float_layers if name in relus)}
    for node in reversed(graph.nodes):
        if not _is_listed(node) and node.name not in relus.values():
            consumers = {consumer.name for value in node.outputs for consumer in graph.consumers(value)}
            if consumers and consumers <= names:
                names.add(node.name)
    return names


def fused_relu(graph: Graph, node: Node, scheme: Scheme) -> Node | None:
    """The ReLU that an engine fuses into an operation with weights: its sole consumer."""
    consumer = graph.sole_consumer(node.name) if node.op in WEIGHTED else None
    return consumer if consumer is not None and consumer.op == "relu" and consumer.op in scheme.integer_ops else None


def _is_quantised(node: Node, scheme: Scheme) -> bool:
    """Whether an operation's kernel, or its inputs and outputs, are quantised."""
    return is_integer(node, scheme) or has_quantised_kernel(node, scheme)


def is_integer(node: Node, scheme: Scheme) -> bool:
    """Whether an operation computes in integers."""
    return node.op in scheme.integer_ops and not node.is_floating and not _is_scaling(node, scheme)


def has_quantised_kernel(node: Node, scheme: Scheme) -> bool:
    """Whether an operation's kernel is quantised."""
    is_excluded = _is_scaling(node, scheme) or (node.is_depthwise and not scheme.depthwise)
    return node.op in WEIGHTED and not is_excluded


def _is_scaling(node: Node, scheme: Scheme) -> bool:
    """Whether an operation with float output has one input channel: it would have as many scales as weights."""
    return node.op in scheme.float_output_ops and node.weights["kernel"][0].size == 1
