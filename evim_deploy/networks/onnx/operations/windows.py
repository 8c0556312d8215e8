"""Operations of ONNX that pool, pad or resize maps (B, C, H, W), and the padding of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional as F

from evim_deploy.networks.onnx.node import OnnxNode, Value, lengths
from evim_deploy.networks.onnx.operations.resize import resize
from evim_deploy.networks.torch_module import pools

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
"""Padding modes of ONNX and of torch."""


def padding(node: OnnxNode, kernel: Sequence[int], sizes: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """The padding of each axis, before and after it, in torch's order: the last axis first.

    Args:
        node: A convolution or pooling.
        kernel: Sides of its window, pixels.
        sizes: Lengths of the map along the same axes, pixels.
        dilations: Distance from one pixel of the window to the next.

    Raises:
        BadInput: The window leaves out pixels at the edge; ONNX Runtime's choice of these depends on the operation.
    """
    count = len(kernel)
    strides, how = node.integers("strides", [1] * count), node.text("auto_pad", "NOTSET")
    amounts: list[int] = []
    for i in reversed(range(count)):
        if how in ("NOTSET", "VALID"):
            pads = node.integers("pads", [0] * 2 * count) if how == "NOTSET" else [0] * 2 * count
            amounts += [pads[i], pads[i + count]]
        else:
            total = (-(-sizes[i] // strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - sizes[i]
            if total < -1:
                raise node.unsupported(f"pads {how} a window that leaves out {-total} pixels")
            small, large = max(total, 0) // 2, -(-max(total, 0) // 2)
            amounts += [small, large] if how == "SAME_UPPER" else [large, small]
    return amounts


def is_even(pads: Sequence[int]) -> bool:
    """Whether the padding before and after each axis is the same."""
    return all(before == after for before, after in zip(pads[::2], pads[1::2], strict=True))


class Pad(nn.Module):
    """Zeros around a map, for a convolution whose padding torch's own cannot express."""

    def __init__(self, node: OnnxNode, kernel: Sequence[int]) -> None:
        super().__init__()
        self._node, self._kernel = node, tuple(kernel)

    def forward(self, x: Tensor) -> Tensor:
        dilations = self._node.integers("dilations", [1] * len(self._kernel))
        return F.pad(x, padding(self._node, self._kernel, lengths(x)[2:], dilations))


def _sides(node: OnnxNode, x: Tensor) -> list[pools.Side]:
    """A pool's window along each axis of a map. ONNX Runtime ignores the dilation in its padding."""
    kernel = node.integers("kernel_shape", ())
    pads = padding(node, kernel, lengths(x)[2:], [1] * len(kernel))
    each = zip(
        kernel,
        node.integers("strides", [1] * len(kernel)),
        pads[-2::-2],
        pads[::-2],
        node.integers("dilations", [1] * len(kernel)),
        strict=True,
    )
    ceil = bool(node.integer("ceil_mode", 0))
    return [
        pools.Side(kernel=size, stride=stride, before=before, after=after, dilation=dilation, ceil=ceil)
        for size, stride, before, after, dilation in each
    ]


def _average_pool(node: OnnxNode, x: Tensor) -> Tensor:
    sides = tuple(_sides(node, x))
    if any(side.dilation != 1 for side in sides):
        raise node.unsupported("is dilated")
    counts_padding = bool(node.integer("count_include_pad", 0))
    return pools.average_pool(x, sides, _divisors(sides, tuple(lengths(x)[2:]), node.opset) if counts_padding else None)


@cache
def _divisors(sides: Sequence[pools.Side], lengths: Sequence[int], opset: int) -> npt.NDArray[np.int64]:
    """ONNX Runtime's divisor of each window where padding counts, (*windows), measured by a pool of ones.

    Below opset 19 it is the whole kernel, in later versions of ONNX Runtime the pixels on the map and its padding
    (onnxruntime #16203, #29629); from opset 19 on the latter, but an axis uses another's padding (#24681).
    """
    import onnxruntime
    from onnx import TensorProto, helper

    pool = helper.make_node(
        "AveragePool",
        ["map"],
        ["mean"],
        kernel_shape=[side.kernel for side in sides],
        strides=[side.stride for side in sides],
        pads=[side.before for side in sides] + [side.after for side in sides],
        ceil_mode=int(sides[0].ceil),
        count_include_pad=1,
    )
    ones = np.ones((1, 1, *lengths), np.float32)
    image = helper.make_tensor_value_info("map", TensorProto.FLOAT, ones.shape)
    graph = helper.make_graph([pool], "pool", [image], [helper.make_empty_tensor_value_info("mean")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (mean,) = session.run(None, {"map": ones})
    return np.rint(pools.divisors(sides, lengths, False) / mean[0, 0]).astype(np.int64)


_IR_VERSION = 8  # every ONNX Runtime with these opsets reads it


def _pad(node: OnnxNode, x: Tensor, pads: Value, value: Value = None, axes: Value = None) -> Tensor:
    """Pad a map; a negative amount removes pixels."""
    amounts, own = node.ints(pads), lengths(x)
    along = [axis % x.ndim for axis in node.ints(axes)] if axes is not None else range(x.ndim)
    around = {axis: (amounts[i], amounts[i + len(along)]) for i, axis in enumerate(along)}
    for axis, (before, after) in around.items():
        if min(before, after) < 0:
            x = x.narrow(axis, max(-before, 0), own[axis] + min(before, 0) + min(after, 0))
    grown = {
        axis: (max(before, 0), max(after, 0)) for axis, (before, after) in around.items() if max(before, after) > 0
    }
    if not grown:
        return x
    mode = node.text("mode", "constant")
    first = min(grown) if mode == "constant" else 2  # torch repeats pixels along the axes of a map alone
    if mode not in _MODES or min(grown) < first:
        raise node.unsupported(f"pads by {mode}")
    flat = [size for axis in reversed(range(first, x.ndim)) for size in grown.get(axis, (0, 0))]
    fill = {} if value is None or mode != "constant" else {"value": node.scalar(value)}
    return F.pad(x, flat, _MODES[mode], **fill)


WINDOWS: dict[str, Callable[..., Tensor]] = {
    "AveragePool": _average_pool,
    "MaxPool": lambda node, x: pools.max_pool(x, _sides(node, x)),
    "GlobalAveragePool": lambda node, x: x.mean(list(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda node, x: x.amax(list(range(2, x.ndim)), keepdim=True),
    "Pad": _pad,
    "Resize": resize,
}
