"""The operations of ONNX that move a window over a map (B, C, H, W), or pad or scale it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evim_deploy.networks.onnx_node import Node, Value

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
"""ONNX's names of what is put around a map, and torch's."""

_LINEAR = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
"""Where the pixels of a scaled map lie: whether torch calls it aligned corners."""

_NEAREST = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))
"""Both repeat the pixels of a map that grows by a whole number."""


def padding(node: Node, kernel: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Of each axis the pixels before and after it, in torch's order: the last axis first.

    Args:
        node: A convolution or pooling.
        kernel: Sides of its window.
        sizes: Of the map, whose axes they go along.
    """
    count = len(kernel)
    strides, dilations = node.integers("strides", [1] * count), node.integers("dilations", [1] * count)
    how = node.text("auto_pad", "NOTSET")
    found = []
    for i in reversed(range(count)):
        if how in ("NOTSET", "VALID"):
            pads = node.integers("pads", [0] * 2 * count) if how == "NOTSET" else [0] * 2 * count
            found += [pads[i], pads[i + count]]
        else:
            reach = (-(-sizes[i] // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
            total = max(reach - sizes[i], 0)
            small, large = total // 2, total - total // 2
            found += [small, large] if how == "SAME_UPPER" else [large, small]
    return found


def is_even(pads: Sequence[int]) -> bool:
    """Whether as much is put before each axis as after it."""
    return all(before == after for before, after in zip(pads[::2], pads[1::2], strict=True))


class Pad(nn.Module):
    """Zeros around a map, as a convolution wants them that torch's own padding cannot give."""

    def __init__(self, node: Node, kernel: Sequence[int]) -> None:
        super().__init__()
        self._node, self._kernel = node, tuple(kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, padding(self._node, self._kernel, x.shape[2:]))


def _pool(node: Node, x: Tensor, name: str, fill: float, **options: Any) -> Tensor:
    kernel = node.integers("kernel_shape", ())
    pads = padding(node, kernel, x.shape[2:])
    strides, ceil = node.integers("strides", [1] * len(kernel)), bool(node.integer("ceil_mode", 0))
    function: Callable[..., Tensor] = getattr(F, f"{name}_pool{len(kernel)}d")
    if not is_even(pads) or any(2 * p > k for p, k in zip(pads[::-2], kernel, strict=True)):
        if ceil:
            raise node.refused("pads unevenly and rounds its size up")
        return function(F.pad(x, pads, value=fill), kernel, strides, **options)
    return function(x, kernel, strides, pads[::-2], ceil_mode=ceil, **options)


def _max_pool(node: Node, x: Tensor) -> Tensor:
    if len(node.outputs) > 1:
        raise node.refused("gives the places of the maxima")
    return _pool(node, x, "max", -torch.inf, dilation=node.integers("dilations", [1] * (x.ndim - 2)))


def _average_pool(node: Node, x: Tensor) -> Tensor:
    counts_padding = bool(node.integer("count_include_pad", 0))
    if any(dilation != 1 for dilation in node.integers("dilations", ())):
        raise node.refused("is dilated")
    kernel = node.integers("kernel_shape", ())
    if is_even(padding(node, kernel, x.shape[2:])):
        return _pool(node, x, "avg", 0, count_include_pad=counts_padding)
    mean = _pool(node, x, "avg", 0)
    return mean if counts_padding else mean / _pool(node, torch.ones_like(x[:1, :1]), "avg", 0)


def _pad(node: Node, x: Tensor, pads: Value, value: Value = None, axes: Value = None) -> Tensor:
    sizes = node.ints(pads)
    along = [axis % x.ndim for axis in node.ints(axes)] if axes is not None else range(x.ndim)
    around = {axis: (sizes[i], sizes[i + len(along)]) for i, axis in enumerate(along)}
    mode = node.text("mode", "constant")
    first = 0 if mode == "constant" else 2  # torch repeats pixels along the axes of a map alone
    if mode not in _MODES or any(any(around.get(axis, ())) for axis in range(first)):
        raise node.refused(f"pads by {mode}")
    flat = [size for axis in reversed(range(first, x.ndim)) for size in around.get(axis, (0, 0))]
    fill = {} if value is None or mode != "constant" else {"value": node.scalar(value)}
    return F.pad(x, flat, _MODES[mode], **fill) if any(flat) else x


def _resize(node: Node, x: Tensor, region: Value = None, scales: Value = None, sizes: Value = None) -> Tensor:
    mode, where = node.text("mode", "nearest"), node.text("coordinate_transformation_mode", "half_pixel")
    rounding = node.text("nearest_mode", "round_prefer_floor")
    unusual = ("antialias", "exclude_outside", "axes", "keep_aspect_ratio_policy")
    if x.ndim != 4 or any(node.attributes.get(name) for name in unusual):
        raise node.refused("scales in a way that is unusual")
    wanted = _sizes(node, x, scales, sizes)
    if mode == "nearest":
        grows = all(size % side == 0 for size, side in zip(wanted, x.shape[2:], strict=True))
        if grows and (where, rounding) in _NEAREST:
            return F.interpolate(x, wanted, mode="nearest")
    elif mode == "linear" and where in _LINEAR:
        return F.interpolate(x, wanted, mode="bilinear", align_corners=_LINEAR[where])
    raise node.refused(f"scales by {mode}, {where}, {rounding}")


def _sizes(node: Node, x: Tensor, scales: Value, sizes: Value) -> list[int]:
    """Height and width of what a map is scaled to."""
    if sizes is not None:
        return node.ints(sizes)[2:]
    factors = node.numbers(scales)[2:]
    wanted = [side * factor for side, factor in zip(x.shape[2:], factors, strict=True)]
    if any(size != int(size) for size in wanted):
        raise node.refused("scales to a size that is not whole")
    return [int(size) for size in wanted]


WINDOWS: dict[str, Callable[..., Tensor]] = {
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "GlobalAveragePool": lambda node, x: x.mean(list(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda node, x: x.amax(list(range(2, x.ndim)), keepdim=True),
    "Pad": _pad,
    "Resize": _resize,
}
