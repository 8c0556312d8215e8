"""GELU as one operation, where a file has it written out, as exporters do below opset 20.

    x * 0.5 * (1 + erf(x / sqrt(2)))  ->  gelu(x)        the factors in any order

TFLite has an operation for GELU but not for erf. onnxscript's rewriter has GELU rules for two exact
orders of the factors and operands, for a com.microsoft operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose, sqrt

import numpy as np

from evim_deploy.networks.onnx.node import OnnxNode, Value

_CLOSE = 1e-4  # relative: files round sqrt(2) to float32, some to fewer digits


def fuse_gelu(nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> list[OnnxNode]:
    """The nodes with each such product replaced by one Gelu; the nodes of its factors stay, without a consumer."""
    graph = _Graph(nodes, constants)
    fused = {}
    for node in nodes:
        if node.op == "Erf" and (match := graph.gelu(node)) is not None:
            last, x = match
            fused[last.outputs[0]] = replace(last, op="Gelu", inputs=(x,), attributes={})
    return [fused.get(node.outputs[0], node) for node in nodes]


class _Graph:
    """The producer and the consumers of each value."""

    def __init__(self, nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> None:
        self._constants = constants
        self._producers = {name: node for node in nodes for name in node.outputs}
        self._consumers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in node.inputs:
                self._consumers.setdefault(name, []).append(node)

    def gelu(self, erf: OnnxNode) -> tuple[OnnxNode, str] | None:
        """The last Mul of the product with an Erf, and its x."""
        x = self._scaled(erf.inputs[0], sqrt(0.5))
        added = self._sole_consumer(erf.outputs[0], "Add")
        if x is None or added is None or not self._is(self._other(added, erf.outputs[0]), 1.0):
            return None
        node, missing = added, {"x", "half"}
        while missing:
            value = node.outputs[0]
            consumer = self._sole_consumer(value, "Mul")
            if consumer is None:
                return None
            factor = self._other(consumer, value)
            kind = self._kind(factor, x)
            if not kind or not kind <= missing:
                return None
            missing -= kind
            node = consumer
        return node, x

    def _kind(self, factor: str, x: str) -> set[str]:
        """The missing factors that a value stands for: x, 0.5, or both."""
        if self._scaled(factor, 0.5) == x:
            return {"x", "half"}
        return {"x"} if factor == x else {"half"} if self._is(factor, 0.5) else set()

    def _sole_consumer(self, name: str, op: str) -> OnnxNode | None:
        consumers = self._consumers.get(name, [])
        return consumers[0] if len(consumers) == 1 and consumers[0].op == op else None

    def _other(self, node: OnnxNode, name: str) -> str:
        return next((each for each in node.inputs if each != name), name)

    def _is(self, name: str, number: float) -> bool:
        value = self._constants.get(name)
        return isinstance(value, np.ndarray) and value.size == 1 and isclose(value.item(), number, rel_tol=_CLOSE)

    def _scaled(self, name: str, factor: float) -> str | None:
        """The value that another is a given multiple of; None where it is not."""
        node = self._producers.get(name)
        if node is None or node.op not in ("Mul", "Div"):
            return None
        first, second = node.inputs
        if self._is(second, factor if node.op == "Mul" else 1 / factor):
            return first
        return second if node.op == "Mul" and self._is(first, factor) else None
