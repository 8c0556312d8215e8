"""The normalisation of a LayerNorm as one operation, where a file has it written out: ours, and those below opset 17.

    c = x - mean(x)        y = c / sqrt(mean(c c) + eps)

In float16 the square of a value above 256 is infinite; as one operation the norm does not round inside. A mean is a
ReduceMean over one axis, or a product with a row of 1 / C, as in our files. onnxscript's rewriter has a LayerNorm
rule for scaled norms over the last axis alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose

import numpy as np
from torch import Tensor

from evim_deploy.networks.onnx.node import OnnxNode, Value

NORMALISE = "Normalise"
"""Our name of the operation; its attributes are ``axis`` and ``epsilon``."""

_CLOSE = 1e-5


def fuse_layer_norms(nodes: Sequence[OnnxNode], constants: Mapping[str, Value]) -> list[OnnxNode]:
    """The nodes with each such quotient replaced by one operation; the nodes of its parts stay, without a consumer."""
    producers = {name: node for node in nodes for name in node.outputs}
    graph = _Graph(producers, constants)
    return [graph.normalised(node) or node for node in nodes]


class _Graph:
    """The producer of each value."""

    def __init__(self, producers: Mapping[str, OnnxNode], constants: Mapping[str, Value]) -> None:
        self._producers = producers
        self._constants = constants

    def normalised(self, quotient: OnnxNode) -> OnnxNode | None:
        """A quotient as one operation; None where it is not a norm."""
        centred, root = (self._producer(name) for name in quotient.inputs) if quotient.op == "Div" else (None, None)
        if not centred or not root or centred.op != "Sub" or root.op != "Sqrt":
            return None
        x, mean = centred.inputs
        shifted = self._producer(root.inputs[0])
        if not shifted or shifted.op != "Add":
            return None
        variance, eps = sorted(shifted.inputs, key=lambda name: name in self._constants)
        axis, number = self._mean_of(mean, x), self._number(eps)
        squares = self._square_of(centred.outputs[0])
        if axis is None or number is None or all(self._mean_of(variance, each) != axis for each in squares):
            return None
        return replace(quotient, op=NORMALISE, inputs=(x,), attributes={"axis": axis, "epsilon": number})

    def _mean_of(self, name: str, x: str) -> int | None:
        """The axis over which a value is the mean of another; None where it is not."""
        node = self._producer(name)
        if node and node.op == "ReduceMean" and node.inputs[0] == x and node.integer("keepdims", 1):
            axes = node.axes(self._constants[node.inputs[1]]) if len(node.inputs) > 1 else node.axes(None)
            return axes[0] if axes and len(axes) == 1 else None
        if node and node.op == "MatMul" and node.inputs[1] == x:
            row = self._constants.get(node.inputs[0])
            if isinstance(row, Tensor) and row.ndim == 2 and len(row) == 1:
                return -2 if bool((row * row.shape[1] - 1).abs().max() < _CLOSE) else None
        return None

    def _square_of(self, name: str) -> list[str]:
        """The values that are the square of another."""
        return [value for value, node in self._producers.items() if self._is_square(node, name)]

    def _is_square(self, node: OnnxNode, name: str) -> bool:
        if node.op == "Mul":
            return node.inputs == (name, name)
        return node.op == "Pow" and node.inputs[0] == name and self._is(node.inputs[1], 2.0)

    def _producer(self, name: str) -> OnnxNode | None:
        return self._producers.get(name)

    def _number(self, name: str) -> float | None:
        value = self._constants.get(name)
        return float(value.item()) if isinstance(value, np.ndarray) and value.size == 1 else None

    def _is(self, name: str, number: float) -> bool:
        actual = self._number(name)
        return actual is not None and isclose(actual, number, rel_tol=_CLOSE)
