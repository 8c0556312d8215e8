"""A graph as a torch module, so that PyTorch engines can time the rewritten network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evim_deploy.graph.interpreter import HANDLERS

if TYPE_CHECKING:
    from evim_deploy.graph.ir import Graph, Node


def _softmax_tokens(node: Node, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The token softmax (B, N, L) in the precision of x, as in the published network.

    The handler of :data:`evim_deploy.graph.interpreter.HANDLERS` computes in float64, which would distort the timing.
    """
    weights_of_tokens, scale = torch.softmax(x, 2), node.spread(x.shape[2])
    return weights_of_tokens if scale == 1 else weights_of_tokens * scale


_HANDLERS = {**HANDLERS, "softmax_tokens": _softmax_tokens}


class GraphModule(nn.Module):
    """Computes a graph's first output from images (B, 3, H, W).

    The weights are float32 buffers. Operations are stored by name and looked up when they run, so that the module can
    be pickled. A value is released after its last consumer.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._input = graph.input_name
        self._output = next(iter(graph.outputs.values()))
        self._nodes: list[tuple[Node, tuple[tuple[str, str], ...], tuple[str, ...]]] = []
        last_use = {name: node.name for node in graph.nodes for name in node.inputs if name != self._output}
        for index, node in enumerate(graph.nodes):
            names = tuple((weight, f"{weight}_{index}") for weight in node.weights)
            for weight, name in names:
                self.register_buffer(name, torch.from_numpy(node.weights[weight]).float())
            # the node without its float64 weights
            released = tuple(name for name, consumer in last_use.items() if consumer == node.name)
            self._nodes.append((replace(node, weights={}), names, released))

    def forward(self, images: Tensor) -> Tensor:
        values = {self._input: images}
        for node, names, released in self._nodes:
            weights: Mapping[str, Tensor] = {weight: getattr(self, name) for weight, name in names}
            results = _HANDLERS[node.op](node, weights, *[values[name] for name in node.inputs])
            values.update(zip(node.outputs, results if isinstance(results, tuple) else (results,), strict=True))
            for name in released:
                del values[name]
        return values[self._output]


def graph_module(graph: Graph) -> nn.Module:
    """Convert a graph to a module in evaluation mode, from images (B, 3, H, W) to its first output."""
    return GraphModule(graph).eval()
