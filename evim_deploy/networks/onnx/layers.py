"""The operations of ONNX with weights, as torch's own layers, which the folding of BatchNorms knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from evim_deploy.networks.onnx.node import OnnxNode, lengths
from evim_deploy.networks.onnx.operations.windows import Pad, is_even, padding

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d}
_BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
}
_INSTANCE_NORMS: dict[int, Callable[..., nn.Module]] = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d}
"""By the rank of the input."""


def _conv(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module:
    kernel, *bias = weights
    if x.ndim not in _CONVOLUTIONS:
        raise node.unsupported(f"has an input of {x.ndim} axes")
    outputs, inputs, *sides = kernel.shape
    dilations = node.integers("dilations", [1] * len(sides))
    pads = padding(node, sides, lengths(x)[2:], dilations)
    fits = is_even(pads) and node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    groups = node.integer("group", 1)
    layer = _CONVOLUTIONS[x.ndim](
        inputs * groups,
        outputs,
        tuple(sides),
        stride=tuple(node.integers("strides", [1] * len(sides))),
        padding=tuple(pads[::-2]) if fits else 0,
        dilation=tuple(dilations),
        groups=groups,
        bias=bool(bias),
    )
    _fill(layer, weight=kernel, **({"bias": bias[0]} if bias else {}))
    return layer if fits else nn.Sequential(Pad(node, sides), layer)


def _batch_norm(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module:
    if x.ndim not in _BATCH_NORMS:
        raise node.unsupported(f"has an input of {x.ndim} axes")
    if node.integer("training_mode", 0):
        raise node.unsupported("is in training mode")
    gamma, beta, mean, variance = weights
    layer = _BATCH_NORMS[x.ndim](len(gamma), node.number("epsilon", 1e-5))
    _fill(layer, weight=gamma, bias=beta, running_mean=mean, running_var=variance)
    return layer


def _linear(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module | None:
    """Gemm and MatMul by a matrix; None where it is not ``x W^T + b``."""
    matrix, *bias = weights
    scales = node.number("alpha", 1.0), node.number("beta", 1.0)
    if matrix.ndim != 2 or scales != (1.0, 1.0) or node.integer("transA", 0):
        return None
    kernel = matrix if node.integer("transB", 0) else matrix.T  # (O, I)
    if bias and bias[0].shape not in ((len(kernel),), (1, len(kernel))):
        return None
    layer = nn.Linear(kernel.shape[1], len(kernel), bool(bias))
    _fill(layer, weight=kernel, **({"bias": bias[0].reshape(-1)} if bias else {}))
    return layer


def _layer_norm(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module:
    """A norm over several axes is written over one flattened axis, since onnx2tf supports one axis alone."""
    axis = node.integer("axis", -1) % x.ndim
    sizes = lengths(x)[axis:]
    gamma, *beta = (each.expand(sizes).flatten() for each in weights)
    layer = nn.LayerNorm(len(gamma), node.number("epsilon", 1e-5), bias=bool(beta))
    _fill(layer, weight=gamma, **({"bias": beta[0]} if beta else {}))
    return layer if len(sizes) == 1 else nn.Sequential(nn.Flatten(axis), layer, nn.Unflatten(axis, sizes))


def _group_norm(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module:
    """Before opset 21 it has a weight for each group, since then for each channel. Tokens are a map with one column."""
    if x.ndim not in (3, 4):
        raise node.unsupported(f"has an input of {x.ndim} axes")
    groups, channels = node.integer("num_groups", 1), lengths(x)[1]
    gamma, beta = (each.repeat_interleave(channels // len(each)) for each in weights)
    layer = nn.GroupNorm(groups, channels, node.number("epsilon", 1e-5))
    _fill(layer, weight=gamma, bias=beta)
    return layer if x.ndim == 4 else nn.Sequential(nn.Unflatten(2, (-1, 1)), layer, nn.Flatten(2))


def _instance_norm(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module:
    if x.ndim not in _INSTANCE_NORMS:
        raise node.unsupported(f"has an input of {x.ndim} axes")
    gamma, beta = weights
    layer = _INSTANCE_NORMS[x.ndim](len(gamma), node.number("epsilon", 1e-5), affine=True)
    _fill(layer, weight=gamma, bias=beta)
    return layer


def _fill(layer: nn.Module, **weights: Tensor) -> None:
    layer.eval().requires_grad_(False)
    layer.load_state_dict({name: tensor.contiguous() for name, tensor in weights.items()}, strict=False)


LAYERS: dict[str, Callable[[OnnxNode, Tensor, Sequence[Tensor]], nn.Module | None]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Gemm": _linear,
    "MatMul": _linear,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
}
"""Functions from a node, its first input and its other inputs, which are weights, to a layer."""


def layer_of(node: OnnxNode, x: Tensor, weights: Sequence[Tensor]) -> nn.Module | None:
    """A node as a layer; None where it is not a layer.

    Raises:
        BadInput: Its form is not supported.
    """
    return LAYERS[node.op](node, x, weights) if node.op in LAYERS else None
