"""One operation of a graph on given values in float64, and how large an error its arithmetic explains.

A sum's rounding errors are in proportion to the sum of its terms' magnitudes, not to the sum itself,
which may be small where the terms cancel. So beside each value goes that magnitude: a linear
operation's is the same operation on absolute weights and absolute inputs; the others' are in a table.
Of n terms the error is n - 1 roundoffs at the most, and about the root of that where roundings are
independent, as they are where weights differ; tokens of a plain image are all alike, and round alike.
Source: Higham, Accuracy and Stability of Numerical Algorithms, sections 2.8 and 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.graph.interpreter import step
from evim_deploy.graph.ir import MANY_TOKENS, Node


def apply(node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """An operation's outputs, of inputs in float64."""
    weights = {name: torch.from_numpy(array) for name, array in node.weights.items()}
    if node.is_depthwise:
        return (_depthwise(node, weights, inputs[0]),)
    outputs = step(node, weights, dict(zip(node.inputs, inputs, strict=True)))
    return tuple(outputs[name] for name in node.outputs)


def magnitudes(
    node: Node, inputs: Sequence[Tensor], terms: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """For each output the magnitudes that its rounding errors are in proportion to.

    Args:
        node: The operation.
        inputs: What it takes.
        terms: The magnitudes of what it takes.
        outputs: What it gives.
    """
    special = _MAGNITUDES.get(node.op)
    if special is not None:
        return (special(node, inputs[0], terms[0], outputs[0]),)
    return apply(node.with_weights(**{name: np.abs(array) for name, array in node.weights.items()}), terms)


def roundoffs(node: Node, inputs: Sequence[Tensor]) -> float:
    """How many roundoffs of its magnitude the arithmetic of an operation may lose: as its longest sum is."""
    count = _TERMS.get(node.op)
    return count(node, inputs[0]) if count is not None else 1.0


def stored_steps(node: Node, inputs: Sequence[Tensor]) -> float:
    """How many roundoffs of its magnitude an operation loses where a file stores its steps: on very many tokens."""
    count = _STORED_STEPS.get(node.op)
    tokens = inputs[0].shape[-1]
    return count(tokens) if count is not None and node.spread(tokens) > 1 else 0.0


def inner_step(node: Node, inputs: Sequence[Tensor]) -> Tensor | None:
    """The sum that an operation divides by: where it overflows, finite zeros come out."""
    step_ = _INNER_STEPS.get(node.op)
    return step_(inputs[0]) if step_ is not None else None


def _depthwise(node: Node, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """As ``conv``, a tap at a time: torch's own takes each channel by itself in float64, 20 times as long."""
    kernel, stride, padding = w["kernel"], node.integer("stride"), node.integer("padding")
    side = kernel.shape[-1]
    x = F.pad(x, [padding] * 4)
    rows, columns = ((length - side) // stride + 1 for length in x.shape[2:])
    bias = w["bias"] if "bias" in w else torch.zeros(len(kernel), dtype=x.dtype)
    y = bias.view(-1, 1, 1).repeat(len(x), 1, rows, columns)  # (B, C, H', W')
    for i in range(side):
        for j in range(side):
            taps = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            y += kernel[:, 0, i, j].view(-1, 1, 1) * taps
    return y


def _layer_norm(node: Node, x: Tensor, terms: Tensor, y: Tensor) -> Tensor:
    """What x - mean loses where x is large beside its deviation, there and in the variance."""
    variance = x.var(1, correction=0, keepdim=True) + node.eps()
    scale = terms.square().mean(1, keepdim=True).sqrt()
    return y.abs() + (terms + (1 + y.abs()) * scale) / variance.sqrt()


_MAGNITUDES: Mapping[str, Callable[[Node, Tensor, Tensor, Tensor], Tensor]] = {
    "layer_norm": _layer_norm,
    "sigmoid": lambda node, x, terms, y: torch.ones_like(y),  # engines approximate it to an absolute error
    "silu": lambda node, x, terms, y: terms,  # x times that
    "softmax_tokens": lambda node, x, terms, y: y * (1 + terms + terms.amax(2, keepdim=True)),  # exp's is |x - max| u
    "softmax_channels": lambda node, x, terms, y: y * (1 + terms + terms.amax(1, keepdim=True)),
}

_TERMS: Mapping[str, Callable[[Node, Tensor], float]] = {
    "sigmoid": lambda node, x: 4,  # exp, 1 + it, the division, and how well exp is approximated
    "silu": lambda node, x: 5,
    "conv": lambda node, x: sqrt(node.weights["kernel"][0].size),
    "pointwise_conv": lambda node, x: sqrt(x.shape[1]),
    "linear": lambda node, x: sqrt(x.shape[1]),
    "layer_norm": lambda node, x: sqrt(x.shape[1]),
    "softmax_channels": lambda node, x: x.shape[1],
    "softmax_tokens": lambda node, x: x.shape[2],
    "state_update": lambda node, x: x.shape[2],
    "state_readout": lambda node, x: x.shape[2],
    "sum_tokens": lambda node, x: x.shape[2],
    "mean": lambda node, x: prod(x.shape[2:]),
}

_STORED_STEPS: Mapping[str, Callable[[int], float]] = {
    "softmax_tokens": lambda tokens: 6,  # the difference to the largest, exp, a row's mean, their sum, share, product
    "state_update": lambda tokens: 1 + ceil(tokens / MANY_TOKENS),  # the parts and their sums, before these are divided
    "sum_tokens": lambda tokens: 1,
}

_INNER_STEPS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x: (x - x.mean(1, keepdim=True)).square().sum(1),
    "softmax_tokens": lambda x: (x - x.amax(2, keepdim=True)).exp().sum(2),
}
