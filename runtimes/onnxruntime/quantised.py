"""What the 8-bit numbers of an ONNX file stand for, and the same file without the grids that are found when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evim_deploy.contents.onnx_names import SCALE, UNSIGNED

Arrays = Mapping[str, npt.NDArray[Any]]

_LAST = "MatMulInteger"
_PRODUCTS = {"ConvInteger": "Conv", _LAST: "MatMul"}
"""Products of integers, and the same of floats."""

_UNIT = "unit"


def is_quantised(model: Any) -> bool:
    """Whether values are rounded on the way."""
    return any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in model.graph.node)


def decoded(node: Any, weights: Arrays) -> tuple[npt.NDArray[Any], ...]:
    """The weights of an operation, float16 or float32; those of 8 bits are what their codes stand for."""
    found = []
    for name in node.input:
        array = weights.get(name)
        if array is None or name.endswith((SCALE, "/scale")):
            continue
        if f"{name}{SCALE}" in weights:
            scale = _spread(weights[f"{name}{SCALE}"], node, array.ndim)
            found.append((_centred(array) * scale).astype(np.float32))
        elif array.dtype in (np.float16, np.float32):
            found.append(array)
    return tuple(found)


def _centred(codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return codes.astype(np.float64) - (UNSIGNED if codes.dtype == np.uint8 else 0)


def _spread(scale: npt.NDArray[Any], node: Any, rank: int) -> npt.NDArray[np.float64]:
    """Scales along the axis of the output channels: the operation's own, the last of a product, else the first."""
    own = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    axis = own[0] if own else rank - 1 if node.op_type == _LAST else 0
    return scale.astype(np.float64).reshape([-1 if each == axis else 1 for each in range(rank)])


def without_run_time_grids(model: Any, weights: dict[str, npt.NDArray[Any]]) -> None:
    """Let products of integers, whose grids are found when they run, take and multiply what would have been rounded."""
    exact: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        node.input[:] = [exact.get(name, name) for name in node.input]
        if node.op_type == "DynamicQuantizeLinear":
            codes, scale, _ = node.output
            exact.update({codes: node.input[0], scale: _UNIT})
            weights[_UNIT] = np.ones((), np.float32)
            continue
        if node.op_type in _PRODUCTS:
            weights[node.input[1]] = _centred(weights[node.input[1]]).astype(np.float32)
            node.op_type = _PRODUCTS[node.op_type]
            del node.input[2:]
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
