"""The quantised graph: quantised kernels and vectors, and quantisation parameters of its values."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from evim_deploy.catalog.terms import Precision
from evim_deploy.graph.half_precision import round_to_half
from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, Array, Encoding, QuantParams
from evim_deploy.quantise.integer_bias import with_integer_bias
from evim_deploy.quantise.placement import has_quantised_kernel, is_integer
from evim_deploy.quantise.schemes import Scheme

VECTORS = {"shift": "bias", "scale": "scale"}
"""Operations with a weight per channel, which an integer engine treats like an input; the name of the weight."""

_MIN_STEP = 1 / 256
"""Smallest step of such a weight, in steps of the output."""


def quantise_graph(
    graph: Graph, scheme: Scheme, qparams: Mapping[str, QuantParams], float_layers: Collection[str] = ()
) -> Graph:
    """The network of a quantised artifact; weights that are not quantised are rounded as the file stores them.

    Args:
        graph: The rewritten network in floating point.
        scheme: Scheme of the precision.
        qparams: Quantisation parameters of the values, by name.
        float_layers: Names of the operations that stay in floating point.
    """
    nodes = (node if node.name in float_layers else encode_node(node, scheme, qparams) for node in graph.nodes)
    quantised = Graph(graph.input_name, nodes, graph.outputs, qparams)
    # dequantised values are float16, too
    return round_to_half(quantised) if scheme.float_precision == Precision.FP16 else quantised


def encode_node(node: Node, scheme: Scheme, qparams: Mapping[str, QuantParams]) -> Node:
    """An operation with the weights quantised that the scheme quantises."""
    encodings = _encodings(node, scheme, qparams)
    node = node.encoded(**encodings)
    if "kernel" in encodings and scheme.integer_bias and node.inputs[0] in qparams:
        return with_integer_bias(node, qparams[node.inputs[0]])
    return node


def _encodings(node: Node, scheme: Scheme, qparams: Mapping[str, QuantParams]) -> dict[str, Encoding]:
    """Quantised weights of an operation, by name."""
    if has_quantised_kernel(node, scheme):
        encoding = scheme.weight_quantisation(node.name).encode(node.weights["kernel"])
        return {"kernel": encoding} if encoding else {}
    if node.op not in VECTORS or not is_integer(node, scheme):
        return {}
    min_scale = _MIN_STEP * qparams[node.name].scale / (qparams[node.inputs[0]].scale if node.op == "scale" else 1.0)
    return {VECTORS[node.op]: _quantise_vector(node.weights[VECTORS[node.op]], min_scale)}


def _quantise_vector(vector: Array, min_scale: float) -> AffineQuantised:
    """A weight for each channel with one scale for all of them, which is at least ``min_scale``."""
    scale = np.float32(max(np.abs(vector).max() / 127, min_scale))
    return AffineQuantised(8, np.rint(vector / scale).astype(np.int8), np.array([scale], np.float64))
