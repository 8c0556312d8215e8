"""Reductions of ONNX on tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value


def _identity(x: Tensor) -> Tensor:
    return x


def _reduced(function: Callable[..., Tensor], of_one: Callable[[Tensor], Tensor] = _identity) -> Operation:
    """A reduction over axes from an attribute, in later opsets from an input; without either over all.

    Args:
        function: Reduces a tensor over axes, and keeps them with length 1 or not.
        of_one: The reduction of a single element. ONNX's text of ``noop_with_empty_axes``: composite reductions "still
            perform the non-reduction steps". ONNX Runtime does so from 1.24 on; 1.23 gave the input as it was.
    """

    def apply(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
        own = node.axes(axes)
        if not own and node.integer("noop_with_empty_axes", 0):
            return of_one(x)
        return function(x, [axis % x.ndim for axis in own or range(x.ndim)], bool(node.integer("keepdims", 1)))

    return apply


def _product(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    """The product, which torch computes along one axis at a time."""
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim)
    return x


def l2_norm(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    """The L2 norm in steps, since onnx2tf cannot write ReduceL2; in float32, since float16 squares overflow."""
    wide = x.float() if x.dtype == torch.float16 else x
    return (wide * wide).sum(axes, keepdim).sqrt().to(x.dtype)


REDUCTIONS: dict[str, Operation] = {
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceProd": _reduced(_product),
    "ReduceL1": _reduced(lambda x, axes, keepdim: x.abs().sum(axes, keepdim), torch.abs),
    "ReduceL2": _reduced(l2_norm, torch.abs),
    "ReduceSumSquare": _reduced(lambda x, axes, keepdim: (x * x).sum(axes, keepdim), lambda x: x * x),
    "ReduceLogSumExp": _reduced(torch.logsumexp),
}
