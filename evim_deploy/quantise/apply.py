"""A graph with its kernels in few bits and its values on grids."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from evim_deploy.graph.half_precision import rounded
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, Array, Encoding, QuantParams
from evim_deploy.quantise.integer_bias import with_integer_bias
from evim_deploy.quantise.schemes import WEIGHTED, Scheme

VECTORS = {"shift": "bias", "scale": "scale"}
"""Operations that take a weight as they take a value, where they compute in integers."""

_UNSEEN = 1 / 256
"""Of a step: what a constant adds is in no finer ones."""

VIEWS = ("flatten", "unflatten", "split", "max_tokens")
"""Operations that compute nothing: what they give has the grid of what they take."""


def layers(graph: Graph, scheme: Scheme) -> list[str]:
    """Names of the operations that a scheme quantises, and that may be kept in floating point instead.

    A ReLU goes with what it clips, a view with what it is of, and what has no weights with what takes it.
    """
    return [node.name for node in graph.nodes if _stands_alone(node) and _is_quantised(node, scheme)]


def quantised_values(graph: Graph, scheme: Scheme, kept: Collection[str] = ()) -> dict[str, str]:
    """The values that are rounded, each with the one whose range its grid is found on: of views the first.

    What an operation that computes in integers takes and gives is rounded, but for what goes into a ReLU alone, which
    an engine computes in one with it. An addition is one where a term has a grid anyway: of floats an engine adds as
    fast.

    Args:
        graph: Rewritten, in floating point.
        scheme: Of the precision.
        kept: Names of operations that stay in floating point.
    """
    wanted: set[str] = set()
    clips = {node.name: relu.name for node in graph.nodes if (relu := clip(graph, node, scheme))}
    kept = _with_followers(graph, kept, clips)
    computed = [node for node in graph.nodes if is_integer(node, scheme) and node.name not in kept]
    for node in sorted(computed, key=lambda node: node.op == "add"):
        if node.op != "add" or wanted.intersection(node.inputs):
            wanted.update(node.inputs, () if node.op in scheme.widened else node.outputs)
    wanted -= clips.keys()
    roots: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in VIEWS:
            root = roots.get(node.inputs[0], node.inputs[0])
            roots.update(dict.fromkeys(node.outputs, root))
    wanted |= {roots[value] for value in wanted if value in roots}
    found = {value: roots.get(value, value) for value in wanted}
    return found | {value: root for value, root in roots.items() if root in wanted}


def _stands_alone(node: Node) -> bool:
    """Whether an operation is kept in floating point for its own sake: it has weights, or adds."""
    return bool(node.weights) or node.op == "add"


def _with_followers(graph: Graph, kept: Collection[str], clips: Mapping[str, str]) -> set[str]:
    """What is kept, the ReLUs that clip it, and what has no weights and is taken by nothing else."""
    found = {*kept, *(clips[name] for name in kept if name in clips)}
    for node in reversed(graph.nodes):
        if not _stands_alone(node) and node.name not in clips.values():
            users = {user.name for value in node.outputs for user in graph.consumers(value)}
            if users and users <= found:
                found.add(node.name)
    return found


def clip(graph: Graph, node: Node, scheme: Scheme) -> Node | None:
    """The ReLU that alone takes what an operation with weights gives."""
    user = graph.sole_consumer(node.name) if node.op in WEIGHTED else None
    return user if user is not None and user.op == "relu" and user.op in scheme.integers else None


def _is_quantised(node: Node, scheme: Scheme) -> bool:
    """Whether something of an operation is in few bits: its kernel, or what it takes and gives."""
    return is_integer(node, scheme) or has_codes(node, scheme)


def is_integer(node: Node, scheme: Scheme) -> bool:
    """Whether an operation computes in integers."""
    return node.op in scheme.integers and not node.is_floating and not _is_scaling(node, scheme)


def has_codes(node: Node, scheme: Scheme) -> bool:
    """Whether an operation's kernel is in few bits."""
    is_left_out = _is_scaling(node, scheme) or (node.is_depthwise and not scheme.depthwise)
    return node.op in WEIGHTED and not is_left_out


def _is_scaling(node: Node, scheme: Scheme) -> bool:
    """Whether an operation that gives floats is no sum: of one input channel, it would have as many scales as codes."""
    return node.op in scheme.widened and node.weights["kernel"][0].size == 1


def quantised(graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], kept: Collection[str] = ()) -> Graph:
    """The network that a quantised artifact is: what is not in few bits is rounded as the file stores it.

    Args:
        graph: Rewritten, in floating point.
        scheme: Of the precision.
        grids: Of values, by name.
        kept: Names of operations that stay in floating point.
    """
    nodes = (node if node.name in kept else encoded(node, scheme, qparams) for node in graph.nodes)
    found = Graph(graph.input_name, nodes, graph.outputs, qparams)
    return rounded(found) if scheme.floats == "fp16" else found  # what is decoded is float16, too


def encoded(node: Node, scheme: Scheme, qparams: Mapping[str, QuantParams]) -> Node:
    """An operation with its weights in few bits, as far as the scheme has them so."""
    encodings = _encodings(node, scheme, qparams)
    node = node.encoded(**encodings)
    if "kernel" in encodings and scheme.integer_bias and node.inputs[0] in qparams:
        return with_integer_bias(node, qparams[node.inputs[0]])
    return node


def _encodings(node: Node, scheme: Scheme, qparams: Mapping[str, QuantParams]) -> dict[str, Encoding]:
    """The weights of an operation that are stored in few bits."""
    if has_codes(node, scheme):
        encoding = scheme.weighting(node.name).encode(node.weights["kernel"])
        return {"kernel": encoding} if encoding else {}
    if node.op not in VECTORS or not is_integer(node, scheme):
        return {}
    least = _UNSEEN * qparams[node.name].scale / (qparams[node.inputs[0]].scale if node.op == "scale" else 1.0)
    return {VECTORS[node.op]: one_scale(node.weights[VECTORS[node.op]], least)}


def one_scale(vector: Array, least: float) -> AffineQuantised:
    """A factor or an offset for each channel, as an engine takes a value: with one scale, at least ``least``."""
    scale = np.float32(max(np.abs(vector).max() / 127, least))
    return AffineQuantised(8, np.rint(vector / scale).astype(np.int8), np.array([scale], np.float64))
