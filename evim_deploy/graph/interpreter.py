"""Evaluates a graph in torch. Rewrites, formats and artifacts are compared with these values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.graph.ir import Graph, Node
from evim_deploy.graph.quantised import QuantParams

Weights = Mapping[str, Tensor]


def evaluate(graph: Graph, image: Tensor, weights: Mapping[str, Weights] | None = None) -> dict[str, Tensor]:
    """The graph's outputs by name, computed in the dtype of the image (B, 3, H, W).

    A value is dropped after its last use, which bounds the memory.
    """
    values = fake_quantise({graph.input_name: image}, graph.qparams)
    weights = weights or tensors(graph, image.dtype)
    expiring = graph.last_uses()
    for node in graph.nodes:
        values.update(fake_quantise(step(node, weights[node.name], values), graph.qparams))
        for value in expiring.get(node.name, ()):
            del values[value]
    return {name: values[value] for name, value in graph.outputs.items()}


def run(graph: Graph, image: Tensor, weights: Mapping[str, Weights] | None = None) -> dict[str, Tensor]:
    """Every value of the graph by name; pass its :func:`tensors` as ``weights`` to run it more than once."""
    values = fake_quantise({graph.input_name: image}, graph.qparams)
    weights = weights or tensors(graph, image.dtype)
    for node in graph.nodes:
        values.update(fake_quantise(step(node, weights[node.name], values), graph.qparams))
    return values


def step(node: Node, weights: Weights, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One operation's outputs by name."""
    with torch.no_grad():
        results = HANDLERS[node.op](node, weights, *(values[name] for name in node.inputs))
    return dict(zip(node.outputs, results if isinstance(results, tuple) else (results,), strict=True))


def fake_quantise(values: Mapping[str, Tensor], qparams: Mapping[str, QuantParams]) -> dict[str, Tensor]:
    """Values by name, rounded to their quantisation parameters where they have some."""
    return {name: round_to(qparams[name], value) if name in qparams else value for name, value in values.items()}


def round_to(qparams: QuantParams, x: Tensor) -> Tensor:
    """The nearest representable values; a tie goes to the even integer, as in IEEE 754."""
    quantised = torch.clamp(torch.round(x / qparams.scale) + qparams.zero_point, qparams.qmin, qparams.qmax)
    return (quantised - qparams.zero_point) * qparams.scale


def tensors(graph: Graph, dtype: torch.dtype) -> dict[str, Weights]:
    """Each operation's weights as tensors."""
    return {
        node.name: {name: torch.from_numpy(array).to(dtype) for name, array in node.weights.items()}
        for node in graph.nodes
    }


def _conv(node: Node, w: Weights, x: Tensor) -> Tensor:
    stride, padding, groups = (node.integer(name) for name in ("stride", "padding", "groups"))
    return F.conv2d(x, w["kernel"], w.get("bias"), stride, padding, groups=groups)


def _batch_norm(node: Node, w: Weights, x: Tensor) -> Tensor:
    return F.batch_norm(x, w["mean"], w["variance"], w["gamma"], w["beta"], eps=node.eps())


def _layer_norm(node: Node, w: Weights, x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + node.eps())


def _per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter.view(-1, *(1,) * (x.ndim - 2))


def _mean(node: Node, w: Weights, x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=bool(node.attributes["keep"]))


def _softmax_tokens(node: Node, w: Weights, x: Tensor) -> Tensor:
    """In float64: in float32 torch sums exponentials lane by lane, with an error of 6e-5 over 65536 equal tokens."""
    return torch.softmax(x, 2, dtype=torch.float64).to(x.dtype) * node.spread(x.shape[2])


def _sum_tokens(node: Node, w: Weights, x: Tensor) -> Tensor:
    total = x.sum(2, keepdim=True) / node.spread(x.shape[2])  # (B, N, 1)
    return total if node.attributes.get("keep") else total.mT


HANDLERS: Mapping[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "conv": _conv,
    "pointwise_conv": lambda node, w, x: w["kernel"] @ x,
    "linear": lambda node, w, x: F.linear(x, w["kernel"], w["bias"]),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "scale": lambda node, w, x: x * _per_channel(w["scale"], x),
    "shift": lambda node, w, x: x + _per_channel(w["bias"], x),
    "add": lambda node, w, x, y: x + y,
    "multiply": lambda node, w, x, y: x * y,
    "relu": lambda node, w, x: F.relu(x),
    "sigmoid": lambda node, w, x: torch.sigmoid(x),
    "silu": lambda node, w, x: F.silu(x),
    "softmax_tokens": _softmax_tokens,
    "softmax_channels": lambda node, w, x: torch.softmax(x, 1),
    "split": lambda node, w, x: x.split(node.sections(), dim=1),
    "flatten": lambda node, w, x: x.flatten(2),
    "unflatten": lambda node, w, x, like: x.unflatten(2, like.shape[2:]),
    "state_update": lambda node, w, u, weights: u @ weights.mT / node.spread(u.shape[2]),
    "state_readout": lambda node, w, h, c: h @ c,
    "sum_tokens": _sum_tokens,
    "mean": _mean,
    "concat": lambda node, w, *xs: torch.cat(xs, 1),
    "subtract": lambda node, w, x, y: x - y,
    "mean_channels": lambda node, w, x: x.mean(1, keepdim=True),
    "max_tokens": lambda node, w, x: x.amax(2, keepdim=True),
    "exp": lambda node, w, x: torch.exp(x),
    "power": lambda node, w, x: (x.clamp_min(0) + node.eps()) ** node.real("exponent"),
}
"""The evaluation of each operation of :data:`evim_deploy.graph.ops.OPS`: from the node, its weights and its inputs."""
