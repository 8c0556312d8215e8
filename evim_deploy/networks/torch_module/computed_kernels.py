"""Plain convolutions in place of those that compute their kernel from their weights at each prediction.

NFNet and BiT standardise their kernels to mean 0 and variance 1. A converter would compute such a kernel from weights
that are rounded to float16, and round it once more; some compute it again at each prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_KINDS = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)


def compute_kernels(model: nn.Module) -> tuple[str, ...]:
    """Replace each such convolution in a model by a plain one, in place, and return their names."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _KINDS)}
    for name, module in layers.items():
        model.set_submodule(name, _plain(module))
    return tuple(layers)


def _plain(layer: nn.Conv2d) -> nn.Conv2d:
    kind: Callable[..., nn.Conv2d] = Conv2dSame if getattr(layer, "same_pad", False) else nn.Conv2d
    plain: nn.Conv2d = kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    plain.weight = nn.Parameter(_kernel(layer), requires_grad=False)
    plain.bias = layer.bias
    return plain.eval()


def _kernel(layer: nn.Conv2d) -> Tensor:
    """The kernel that the layer passes to torch's convolution, (O, I / groups, h, w)."""
    sides = [step * (side - 1) + 1 for side, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    with torch.no_grad(), _Kernels() as kernels:
        layer(torch.zeros(1, layer.in_channels, *sides))
    (kernel,) = kernels.recorded
    return kernel


class _Kernels(TorchFunctionMode):
    """Records the kernels of the convolutions that are computed while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d:
            self.recorded.append(args[1])
        return func(*args, **(kwargs or {}))
