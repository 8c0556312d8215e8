"""GELU, found again where a file has it written out, as every exporter does below opset 20.

    x * 0.5 * (1 + erf(x / sqrt(2)))  ->  gelu(x)        the factors in any order

TFLite has an operation for GELU and none for erf, and an engine computes it in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose, sqrt

import numpy as np

from evim_deploy.networks.onnx.node import OnnxNode, Value

_CLOSE = 1e-4  # relative: files round sqrt(2) to float32, some to fewer digits


def find_gelu(nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> list[OnnxNode]:
    """The nodes with each such product replaced by one Gelu; what it was made of stays, and nothing takes it."""
    graph = _Graph(nodes, constants)
    found = {}
    for node in nodes:
        if node.op == "Erf" and (end := graph.gelu(node)) is not None:
            last, x = end
            found[last.outputs[0]] = replace(last, op="Gelu", inputs=(x,), attributes={})
    return [found.get(node.outputs[0], node) for node in nodes]


class _Graph:
    """Who makes and who takes each value."""

    def __init__(self, nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> None:
        self._constants = constants
        self._makers = {name: node for node in nodes for name in node.outputs}
        self._takers: dict[str, list[OnnxNode]] = {}
        for node in nodes:
            for name in node.inputs:
                self._takers.setdefault(name, []).append(node)

    def gelu(self, erf: OnnxNode) -> tuple[OnnxNode, str] | None:
        """The last factor of the product that an erf belongs to, and its x."""
        x = self._scaled(erf.inputs[0], sqrt(0.5))
        added = self._only_taker(erf.outputs[0], "Add")
        if x is None or added is None or not self._is(self._other(added, erf.outputs[0]), 1.0):
            return None
        node, missing = added, {"x", "half"}
        while missing:
            value = node.outputs[0]
            taker = self._only_taker(value, "Mul")
            if taker is None:
                return None
            factor = self._other(taker, value)
            kind = self._kind(factor, x)
            if not kind or not kind <= missing:
                return None
            missing -= kind
            node = taker
        return node, x

    def _kind(self, factor: str, x: str) -> set[str]:
        """Which of the two factors one is, or both."""
        if self._scaled(factor, 0.5) == x:
            return {"x", "half"}
        return {"x"} if factor == x else {"half"} if self._is(factor, 0.5) else set()

    def _only_taker(self, name: str, op: str) -> OnnxNode | None:
        takers = self._takers.get(name, [])
        return takers[0] if len(takers) == 1 and takers[0].op == op else None

    def _other(self, node: OnnxNode, name: str) -> str:
        return next((each for each in node.inputs if each != name), name)

    def _is(self, name: str, number: float) -> bool:
        value = self._constants.get(name)
        return isinstance(value, np.ndarray) and value.size == 1 and isclose(value.item(), number, rel_tol=_CLOSE)

    def _scaled(self, name: str, factor: float) -> str | None:
        """What a value is a multiple of; None where it is not that one."""
        node = self._makers.get(name)
        if node is None or node.op not in ("Mul", "Div"):
            return None
        first, second = node.inputs
        if self._is(second, factor if node.op == "Mul" else 1 / factor):
            return first
        return second if node.op == "Mul" and self._is(first, factor) else None
