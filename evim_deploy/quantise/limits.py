"""Make grids no finer than engines can compute.

An operation rescales its sums by the ratio of two scales: the step of the sums over the step of its output. Where the
output's grid is very much finer, engines leave their fixed point. Measured in LiteRT 2.1: an 8-bit ADD gives wrong
values from a ratio of 2^9 and ends the process from 2^19, XNNPACK refuses a convolution from 2^8, products with a
constant are wrong from 2^20, and sums of 16 bits wrap around. The values come in steps that large, so a finer grid
gains nothing: it is made coarser, and its range only grows.

Zeros alone say nothing about their scale. They get the least one. Where they are added to other values they get the
sum's, and where they are a sum, the step of it: XNNPACK adds no values whose scale is less than 2^-10 of the sum's, or
more than 2^8 of it.

Sources: XNNPACK, src/operators/convolution-nhwc.c (requantization scale below 256); LiteRT,
tflite/delegates/xnnpack/xnnpack_delegate.cc (CheckTensorsInputOutputScale) and tflite/kernels/add.cc;
https://github.com/tensorflow/tensorflow/issues/60815.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import AffineQuantised, QuantParams
from evim_deploy.quantise.apply import VECTORS, VIEWS, clip, has_codes, is_integer
from evim_deploy.quantise.integer_bias import LARGEST_BIAS
from evim_deploy.quantise.qparams import SIXTEEN_BITS, least_scale
from evim_deploy.quantise.schemes import WEIGHTED, Scheme

_MOST = 2.0**7
"""The largest ratio that all operations of 8 bits compute right."""

_MOST_OF_DIFFERENCES = 2.0**18
"""The same of SUB: a variance is a small difference of two large means, and needs its own fine grid."""

_MOST_OF_16_BITS = 1.0
"""The same of sums of products of 16 by 8 bits: a thousand of them, rescaled, fit 32 bits."""

_TERMS = ("add", "subtract", "shift")
_FUNCTIONS = ("sigmoid", "exp", "power", "softmax_channels")
"""Tables: no scale of theirs meets another."""


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """An operation whose sums are rescaled.

    Attributes:
        node: The operation.
        inputs: The roots of the values that it takes.
        output: That of the value that it gives, after the ReLU where one alone takes it.
        constant: The scale of its weights; of a kernel the largest channel's, of none 1.
        bias: The least step of the output in which the bias fits 31 bits, as an engine rescales it.
    """

    node: Node
    inputs: tuple[str, ...]
    output: str
    constant: float
    bias: float

    def step(self, qparams: Mapping[str, QuantParams]) -> float:
        """The step of the sums."""
        taken = [qparams[value].scale for value in self.inputs]
        return max(*taken, self.constant) if self.node.op in _TERMS else prod(taken) * self.constant

    def most(self, is_fine: bool) -> float:
        """The largest ratio of that step to the output's."""
        if is_fine and self.node.op in WEIGHTED:
            return _MOST_OF_16_BITS
        return _MOST_OF_DIFFERENCES if self.node.op == "subtract" else _MOST


def within_limits(
    graph: Graph,
    scheme: Scheme,
    roots: Mapping[str, str],
    qparams: Mapping[str, QuantParams],
    dtype: type[np.floating[Any]],
) -> dict[str, QuantParams]:
    """The grids, coarser where engines need that.

    Args:
        graph: Rewritten, in floating point.
        scheme: Of the precision.
        roots: The values that are rounded, each with the one whose grid it has.
        grids: Of the latter, by name.
        dtype: In which a file stores scales.
    """
    found = dict(qparams)
    sums = list(_sums(graph, scheme, roots))

    def coarsen(root: str, scale: float) -> None:
        if scale > found[root].scale:
            found[root] = replace(found[root], scale=float(dtype(scale)))

    def keep_up() -> None:
        for each in sums:
            coarsen(each.output, max(each.step(found) / each.most(scheme.codes is SIXTEEN_BITS), each.bias))

    keep_up()
    for each in (each for each in sums if each.node.op in _TERMS):
        if qparams[each.output].scale == least_scale(dtype):
            coarsen(each.output, each.step(found))
        for value in each.inputs:
            if qparams[value].scale == least_scale(dtype):
                coarsen(value, found[each.output].scale)
    keep_up()
    return found


def _sums(graph: Graph, scheme: Scheme, roots: Mapping[str, str]) -> Iterator[_Sum]:
    """In the order of their computation."""
    for node in graph.nodes:
        output = (clip(graph, node, scheme) or node).name
        if is_integer(node, scheme) and node.op not in (*VIEWS, *_FUNCTIONS) and {*node.inputs, output} <= roots.keys():
            inputs = tuple(roots[value] for value in node.inputs)
            bias = node.weights.get("bias", np.zeros(1)) if node.op in WEIGHTED else np.zeros(1)
            yield _Sum(
                node=node,
                inputs=inputs,
                output=roots[output],
                constant=_constant(node, scheme),
                bias=float(np.abs(bias).max()) / LARGEST_BIAS,
            )


def _constant(node: Node, scheme: Scheme) -> float:
    if has_codes(node, scheme):
        encoding = scheme.weighting(node.name).encode(node.weights["kernel"])
        return float(encoding.scale.max()) if isinstance(encoding, AffineQuantised) else 0.0
    if node.op in VECTORS:
        return float(np.abs(node.weights[VECTORS[node.op]]).max()) / 127
    return 0.0 if node.op in _TERMS else 1.0
