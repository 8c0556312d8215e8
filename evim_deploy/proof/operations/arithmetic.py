"""Evaluate one operation of a graph in float64, and bound the rounding error of its arithmetic.

A sum's rounding error is proportional to the sum of its terms' magnitudes, not to the sum itself, which may be small
if the terms cancel. Each value therefore has a magnitude beside it: for a linear operation the same operation on
absolute weights and inputs; the other operations have a table. A sum of n terms loses at most n - 1 roundoffs, and
about the square root of that if roundings are independent, as for differing weights; the tokens of a plain image are
equal, and have equal rounding errors.
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
    """An operation's outputs for inputs in float64."""
    weights = {name: torch.from_numpy(array) for name, array in node.weights.items()}
    if node.is_depthwise:
        return (_depthwise(node, weights, inputs[0]),)
    outputs = step(node, weights, dict(zip(node.inputs, inputs, strict=True)))
    return tuple(outputs[name] for name in node.outputs)


def magnitudes(
    node: Node, inputs: Sequence[Tensor], terms: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """For each output the magnitudes that its rounding errors are proportional to.

    Args:
        node: The operation.
        inputs: Its inputs, float64.
        terms: The magnitudes of its inputs.
        outputs: Its outputs, float64.
    """
    special = _MAGNITUDES.get(node.op)
    if special is not None:
        return (special(node, inputs[0], terms[0], outputs[0]),)
    return apply(node.with_weights(**{name: np.abs(array) for name, array in node.weights.items()}), terms)


def roundoffs(node: Node, inputs: Sequence[Tensor]) -> float:
    """Number of roundoffs that an operation may lose, relative to its magnitude, from the length of its longest sum."""
    count = _TERMS.get(node.op)
    return count(node, inputs[0]) if count is not None else 1.0


def stored_steps(node: Node, inputs: Sequence[Tensor]) -> float:
    """Number of roundoffs that an operation loses where a file stores its intermediate steps, for very many tokens."""
    count = _STORED_STEPS.get(node.op)
    tokens = inputs[0].shape[-1]
    return count(tokens) if count is not None and node.spread(tokens) > 1 else 0.0


def inner_step(node: Node, inputs: Sequence[Tensor]) -> Tensor | None:
    """The sum that an operation divides by: if it overflows, the outputs are finite zeros."""
    step_ = _INNER_STEPS.get(node.op)
    return step_(inputs[0]) if step_ is not None else None


def _depthwise(node: Node, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """A depthwise convolution, tap by tap: torch's own loops over channels in float64 and takes 20 times as long."""
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
    """The magnitude of a layer norm, with the cancellation in x - mean and in the variance."""
    variance = x.var(1, correction=0, keepdim=True) + node.eps()
    scale = terms.square().mean(1, keepdim=True).sqrt()
    return y.abs() + (terms + (1 + y.abs()) * scale) / variance.sqrt()


_MAGNITUDES: Mapping[str, Callable[[Node, Tensor, Tensor, Tensor], Tensor]] = {
    "layer_norm": _layer_norm,
    "sigmoid": lambda node, x, terms, y: torch.ones_like(y),  # engines approximate it to an absolute error
    "silu": lambda node, x, terms, y: terms,  # the sigmoid times x
    "softmax_tokens": lambda node, x, terms, y: (
        y * (1 + terms + terms.amax(2, keepdim=True))
    ),  # exp has |x - max| roundoffs
    "softmax_channels": lambda node, x, terms, y: y * (1 + terms + terms.amax(1, keepdim=True)),
}

_TERMS: Mapping[str, Callable[[Node, Tensor], float]] = {
    "sigmoid": lambda node, x: 4,  # exp, the sum, the division, and the approximation of exp
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
