"""Limits of the scales that engines can compute with.

An operation rescales its sums by the ratio of two scales: that of the sums over that of its output. Where the output's
scale is much finer, engines exceed their fixed point. Measured in LiteRT 2.1: an 8-bit ADD computes wrong values from
a ratio of 2^9 and aborts the process from 2^19, XNNPACK rejects a convolution from 2^8, products with a constant are
wrong from 2^20, and sums of 16 bits wrap around. The values have steps of that size, so a finer scale gains nothing: it
is made coarser, and the range only grows.

Zeros alone determine no scale. They get the smallest scale. Where they are added to other values they get the sum's
scale, and where they are a sum, the step of it: XNNPACK adds no values whose scale is less than 2^-10 or more than 2^8
of the sum's scale.

Sources: XNNPACK, src/operators/convolution-nhwc.c (requantization scale below 256); LiteRT,
tflite/delegates/xnnpack/xnnpack_delegate.cc (CheckTensorsInputOutputScale) and tflite/kernels/add.cc;
https://github.com/tensorflow/tensorflow/issues/60815.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, FloatType, QuantParams
from evim_deploy.quantise.integer_bias import LARGEST_BIAS
from evim_deploy.quantise.placement import VIEWS, fused_relu, has_quantised_kernel, is_integer
from evim_deploy.quantise.qparams import SIXTEEN_BITS, min_scale
from evim_deploy.quantise.quantise_graph import VECTORS
from evim_deploy.quantise.schemes import WEIGHTED, Scheme

_MAX_RATIO = 2.0**7
"""The largest ratio that all operations of 8 bits compute correctly."""

_MAX_RATIO_OF_SUBTRACT = 2.0**18
"""The same for SUB: a variance is a small difference of two large means, and needs its own fine scale."""

_MAX_RATIO_OF_16_BITS = 1.0
"""The same for sums of products of 16 by 8 bits: a thousand of them, rescaled, fit 32 bits."""

_TERMS = ("add", "subtract", "shift")
_FUNCTIONS = ("sigmoid", "exp", "power", "softmax_channels")
"""Operations that engines look up in tables: they rescale no sums."""


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """An operation whose sums are rescaled.

    Attributes:
        node: The operation.
        inputs: The roots of its inputs.
        output: The root of its output, after a fused ReLU.
        constant: Scale of its weights; of a kernel the largest channel's, without weights 1.
        bias: The smallest scale of the output for which the bias fits 31 bits, as an engine rescales it.
    """

    node: Node
    inputs: tuple[str, ...]
    output: str
    constant: float
    bias: float

    def step(self, qparams: Mapping[str, QuantParams]) -> float:
        """Scale of the sums."""
        scales = [qparams[value].scale for value in self.inputs]
        return max(*scales, self.constant) if self.node.op in _TERMS else prod(scales) * self.constant

    def max_ratio(self, is_16_bits: bool) -> float:
        """The largest allowed ratio of that scale to the output's."""
        if is_16_bits and self.node.op in WEIGHTED:
            return _MAX_RATIO_OF_16_BITS
        return _MAX_RATIO_OF_SUBTRACT if self.node.op == "subtract" else _MAX_RATIO


def limit_scales(
    graph: Graph, scheme: Scheme, *, roots: Mapping[str, str], qparams: Mapping[str, QuantParams], dtype: FloatType
) -> dict[str, QuantParams]:
    """Quantisation parameters with coarser scales where engines need them.

    Args:
        graph: The rewritten network in floating point.
        scheme: Scheme of the precision.
        roots: The values that are quantised, each with the value whose quantisation parameters it has.
        qparams: Quantisation parameters of the roots, by name.
        dtype: Type in which a file stores scales.
    """
    limited = dict(qparams)
    sums = list(_sums(graph, scheme, roots))

    def coarsen(root: str, scale: float) -> None:
        if scale > limited[root].scale:
            limited[root] = replace(limited[root], scale=float(dtype(scale)))

    def coarsen_outputs() -> None:
        for each in sums:
            ratio = each.max_ratio(scheme.quant_range is SIXTEEN_BITS)
            coarsen(each.output, max(each.step(limited) / ratio, each.bias))

    coarsen_outputs()
    for each in (each for each in sums if each.node.op in _TERMS):
        if qparams[each.output].scale == min_scale(dtype):
            coarsen(each.output, each.step(limited))
        for value in each.inputs:
            if qparams[value].scale == min_scale(dtype):
                coarsen(value, limited[each.output].scale)
    coarsen_outputs()
    return limited


def _sums(graph: Graph, scheme: Scheme, roots: Mapping[str, str]) -> Iterator[_Sum]:
    """In the order of computation."""
    for node in graph.nodes:
        output = (fused_relu(graph, node, scheme) or node).name
        if is_integer(node, scheme) and node.op not in (*VIEWS, *_FUNCTIONS) and {*node.inputs, output} <= roots.keys():
            bias = node.weights.get("bias", np.zeros(1)) if node.op in WEIGHTED else np.zeros(1)
            yield _Sum(
                node=node,
                inputs=tuple(roots[value] for value in node.inputs),
                output=roots[output],
                constant=_constant(node, scheme),
                bias=float(np.abs(bias).max()) / LARGEST_BIAS,
            )


def _constant(node: Node, scheme: Scheme) -> float:
    if has_quantised_kernel(node, scheme):
        encoding = scheme.weight_quantisation(node.name).encode(node.weights["kernel"])
        return float(encoding.scale.max()) if isinstance(encoding, AffineQuantised) else 0.0
    if node.op in VECTORS:
        return float(np.abs(node.weights[VECTORS[node.op]]).max()) / 127
    return 0.0 if node.op in _TERMS else 1.0
