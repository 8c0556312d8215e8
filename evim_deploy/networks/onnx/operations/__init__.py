"""The operations of ONNX on tensors, opset 11 to 23: one pure function for each, by its name.

Each receives the node and its inputs in ONNX's order: tensors, arrays of integers where a graph computes shapes, and
None for an absent input. A function rejects each form of an operation that it does not compute.
It may import :mod:`evim_deploy.networks.onnx.node`, ``shapes`` and ``layer_norm``, and torch_module's pools.

Operators: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from evim_deploy.networks.onnx.node import OnnxNode, Operation, Value, tensor
from evim_deploy.networks.onnx.operations.activations import ACTIVATIONS
from evim_deploy.networks.onnx.operations.elementwise import ARITHMETIC, LOGICAL
from evim_deploy.networks.onnx.operations.layout import LAYOUT
from evim_deploy.networks.onnx.operations.norms import NORMS
from evim_deploy.networks.onnx.operations.reductions import REDUCTIONS
from evim_deploy.networks.onnx.operations.windows import WINDOWS

_DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
"""By ONNX's number of an element type."""


def _cast(node: OnnxNode, x: Tensor) -> Tensor:
    target = node.integer("to", 1)
    if target not in _DTYPES:
        raise node.unsupported(f"casts to {TensorProto.DataType.Name(target)}")
    return x.to(_DTYPES[target])


def _dropout(node: OnnxNode, x: Tensor, ratio: Value = None, training: Value = None) -> Tensor:
    if training is not None and node.scalar(training):
        raise node.unsupported("is in training mode")
    return x


OPERATIONS: dict[str, Operation] = {
    "Identity": lambda node, x: x,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": lambda node, x, like: tensor(x).to(tensor(like).dtype),
    **LOGICAL,
    **ARITHMETIC,
    **ACTIVATIONS,
    **REDUCTIONS,
    **NORMS,
    **LAYOUT,
    **WINDOWS,
}
