"""Quantised values of ONNX files: dequantised weights, and a model that quantises no input at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evim_deploy.formats.onnx_names import SCALE, UNSIGNED

if TYPE_CHECKING:
    import onnx

AnyArray = npt.NDArray[np.generic]

_FLOAT_PRODUCTS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
"""Integer products by their operation types, and the same products of floats."""

_UNIT_SCALE = "unit"


def quantises(model: onnx.ModelProto) -> bool:
    """Return whether a model quantises values while it runs."""
    return any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in model.graph.node)


def weights_of(node: onnx.NodeProto, weights: Mapping[str, AnyArray]) -> tuple[AnyArray, ...]:
    """Return the weights of a node, float16 or float32, dequantised.

    Args:
        node: The node.
        weights: The arrays in the file by name.
    """
    arrays: list[AnyArray] = []
    for name in node.input:
        array = weights.get(name)
        is_scale = name.endswith("/scale") or (name.endswith(SCALE) and name.removesuffix(SCALE) in weights)
        if array is None or is_scale:
            continue
        if f"{name}{SCALE}" in weights:
            scale = _per_channel(weights[f"{name}{SCALE}"], node, array.ndim)
            arrays.append((_centred(array) * scale).astype(np.float32))
        elif array.dtype in (np.float16, np.float32):
            arrays.append(array)
    return tuple(arrays)


def _centred(quantised: AnyArray) -> npt.NDArray[np.float64]:
    """Subtract the zero point of 8-bit weights."""
    return quantised.astype(np.float64) - (UNSIGNED if quantised.dtype == np.uint8 else 0)


def _per_channel(scale: AnyArray, node: onnx.NodeProto, rank: int) -> npt.NDArray[np.float64]:
    """Shape scales so that they broadcast along the output channels: the node's ``axis``, else by its type."""
    declared = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    axis = declared[0] if declared else rank - 1 if node.op_type == "MatMulInteger" else 0
    return scale.astype(np.float64).reshape([-1 if each == axis else 1 for each in range(rank)])


def replace_integer_products(model: onnx.ModelProto, weights: dict[str, AnyArray]) -> None:
    """Replace products of inputs that are quantised at run time by the same products of floats, in place.

    Args:
        model: The model, without its weights.
        weights: The weights by name.

    Raises:
        ValueError: The file lacks the weights of a product.
    """
    replacements: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        node.input[:] = [replacements.get(name, name) for name in node.input]
        if node.op_type == "DynamicQuantizeLinear":
            quantised, scale, _ = node.output
            replacements.update({quantised: node.input[0], scale: _UNIT_SCALE})
            weights[_UNIT_SCALE] = np.ones((), np.float32)
            continue
        if node.op_type in _FLOAT_PRODUCTS:
            name = node.input[1]
            if name not in weights:
                raise ValueError(f"the weights {name!r} of a {node.op_type} are missing")
            weights[name] = _centred(weights[name]).astype(np.float32)
            node.op_type = _FLOAT_PRODUCTS[node.op_type]
            del node.input[2:]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
