"""The evaluation of one operation in float64, and the rounding error that its arithmetic explains.

The rounding error of a sum is in proportion to the sum of its terms' magnitudes, not to the sum itself, which is small
where terms cancel. So each value has a magnitude beside it: for a linear operation that is the same operation on
absolute weights and absolute inputs; :data:`ERROR_MODELS` has the others.
A sum of n terms loses at most n - 1 roundoffs, and about the root of n where the roundings are independent. They are
where weights differ; the tokens of a plain image are equal, and round equally.
Source: Higham, Accuracy and Stability of Numerical Algorithms, sections 2.8 and 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from evim_deploy.graph.interpreter import step
from evim_deploy.graph.ir import MANY_TOKENS, Node


def apply(node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of an operation on float64 inputs."""
    weights = {name: torch.from_numpy(array) for name, array in node.weights.items()}
    if node.is_depthwise:
        return (_depthwise(node, weights, inputs[0]),)
    outputs = step(node, weights, dict(zip(node.inputs, inputs, strict=True)))
    return tuple(outputs[name] for name in node.outputs)


def magnitudes(
    node: Node, inputs: Sequence[Tensor], terms: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """For each output the magnitude that its rounding error is in proportion to.

    Args:
        node: The operation.
        inputs: Its inputs.
        terms: The magnitudes of its inputs.
        outputs: Its outputs.
    """
    return ERROR_MODELS[node.op].magnitudes(node, inputs, terms, outputs)


def roundoffs(node: Node, inputs: Sequence[Tensor]) -> float:
    """The number of roundoffs of its magnitude that an operation may lose, according to its longest sum."""
    return ERROR_MODELS[node.op].roundoffs(node, inputs[0])


def stored_steps(node: Node, inputs: Sequence[Tensor]) -> float:
    """The number of roundoffs of its magnitude that an operation loses where a file stores its steps.

    A file does so only where an operation sums very many tokens.
    """
    tokens = inputs[0].shape[-1]
    return ERROR_MODELS[node.op].stored_steps(tokens) if node.spread(tokens) > 1 else 0.0


def inner_step(node: Node, inputs: Sequence[Tensor]) -> Tensor | None:
    """The sum that an operation divides by: if it overflows, the output is a finite zero."""
    divisor = ERROR_MODELS[node.op].divisor
    return divisor(inputs[0]) if divisor is not None else None


def _depthwise(node: Node, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """A depthwise ``conv``, tap by tap: torch's own computes float64 channel by channel, 20 times slower."""
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


Magnitudes = Callable[[Node, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """The rounding error of one operation.

    Attributes:
        roundoffs: The number of roundoffs, from the operation and its first input.
        magnitudes: The magnitudes of the outputs, with the arguments of :func:`magnitudes`.
        stored_steps: The number of stored steps, from the number of tokens.
        divisor: The sum that the operation divides by, from its first input; None if there is none.
    """

    roundoffs: Callable[[Node, Tensor], float]
    magnitudes: Magnitudes
    stored_steps: Callable[[int], float] = lambda tokens: 0.0
    divisor: Callable[[Tensor], Tensor] | None = None


def _absolute(
    node: Node, inputs: Sequence[Tensor], terms: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The operation itself on absolute weights and magnitudes."""
    return apply(node.with_weights(**{name: np.abs(array) for name, array in node.weights.items()}), terms)


def _unary(magnitude: Callable[[Node, Tensor, Tensor, Tensor], Tensor]) -> Magnitudes:
    """The magnitude of one output from one input, its magnitude and the output."""
    return lambda node, inputs, terms, outputs: (magnitude(node, inputs[0], terms[0], outputs[0]),)


def _layer_norm(node: Node, x: Tensor, terms: Tensor, y: Tensor) -> Tensor:
    """The loss of x - mean where x is large beside its deviation, there and in the variance."""
    variance = x.var(1, correction=0, keepdim=True) + node.eps()
    scale = terms.square().mean(1, keepdim=True).sqrt()
    return y.abs() + (terms + (1 + y.abs()) * scale) / variance.sqrt()


def _batch_norm(node: Node, x: Tensor, terms: Tensor, y: Tensor) -> Tensor:
    gamma, beta, mean, variance = (
        torch.from_numpy(node.weights[name]).view(-1, 1, 1) for name in ("gamma", "beta", "mean", "variance")
    )
    return gamma.abs() / (variance + node.eps()).sqrt() * (terms + mean.abs()) + beta.abs()


def _one(node: Node, x: Tensor) -> float:
    return 1.0


def _over_axis(axis: int) -> Callable[[Node, Tensor], float]:
    return lambda node, x: float(x.shape[axis])


def _over_weights(node: Node, x: Tensor) -> float:
    """The root of the terms, as weights differ."""
    return sqrt(node.weights["kernel"][0].size)


_ELEMENTWISE = ErrorModel(roundoffs=_one, magnitudes=_absolute)
_PRODUCT = ErrorModel(roundoffs=_over_weights, magnitudes=_absolute)

ERROR_MODELS: Mapping[str, ErrorModel] = {
    "conv": _PRODUCT,
    "pointwise_conv": _PRODUCT,
    "linear": _PRODUCT,
    "batch_norm": ErrorModel(roundoffs=_one, magnitudes=_unary(_batch_norm)),
    "layer_norm": ErrorModel(
        roundoffs=lambda node, x: sqrt(x.shape[1]),
        magnitudes=_unary(_layer_norm),
        divisor=lambda x: (x - x.mean(1, keepdim=True)).square().sum(1),
    ),
    "scale": _ELEMENTWISE,
    "shift": _ELEMENTWISE,
    "add": _ELEMENTWISE,
    "subtract": ErrorModel(roundoffs=_one, magnitudes=lambda node, inputs, terms, outputs: (terms[0] + terms[1],)),
    "multiply": _ELEMENTWISE,
    "relu": _ELEMENTWISE,
    "sigmoid": ErrorModel(  # engines approximate it to an absolute error: exp, 1 + it, the division, exp's own
        roundoffs=lambda node, x: 4.0, magnitudes=_unary(lambda node, x, terms, y: torch.ones_like(y))
    ),
    "silu": ErrorModel(roundoffs=lambda node, x: 5.0, magnitudes=_unary(lambda node, x, terms, y: terms)),
    "exp": ErrorModel(roundoffs=_one, magnitudes=_unary(lambda node, x, terms, y: y * (1 + terms))),
    "power": _ELEMENTWISE,
    "softmax_tokens": ErrorModel(  # exp's error is |x - max| roundoffs
        roundoffs=_over_axis(2),
        magnitudes=_unary(lambda node, x, terms, y: y * (1 + terms + terms.amax(2, keepdim=True))),
        stored_steps=lambda tokens: 6.0,  # the difference to the maximum, exp, a row's mean, their sum, share, product
        divisor=lambda x: (x - x.amax(2, keepdim=True)).exp().sum(2),
    ),
    "softmax_channels": ErrorModel(
        roundoffs=_over_axis(1),
        magnitudes=_unary(lambda node, x, terms, y: y * (1 + terms + terms.amax(1, keepdim=True))),
    ),
    "split": _ELEMENTWISE,
    "concat": _ELEMENTWISE,
    "flatten": _ELEMENTWISE,
    "unflatten": _ELEMENTWISE,
    "state_update": ErrorModel(
        roundoffs=_over_axis(2),
        magnitudes=_absolute,
        stored_steps=lambda tokens: 1.0 + ceil(tokens / MANY_TOKENS),  # the parts and their sums, before the division
    ),
    "state_readout": ErrorModel(roundoffs=_over_axis(2), magnitudes=_absolute),
    "sum_tokens": ErrorModel(roundoffs=_over_axis(2), magnitudes=_absolute, stored_steps=lambda tokens: 1.0),
    "max_tokens": _ELEMENTWISE,
    "mean": ErrorModel(roundoffs=lambda node, x: float(prod(x.shape[2:])), magnitudes=_absolute),
    "mean_channels": _ELEMENTWISE,  # summed in integers, without a rounding
}
"""The rounding error of each operation of :data:`evim_deploy.graph.ops.OPS`."""
