"""The plain floating-point tensors of a state dict, for a network of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evim_deploy.weights.checkpoint.names import shorten
from evim_deploy.weights.checkpoint.safe_pickle import TensorRef
from evim_deploy.weights.checkpoint.torch_file import Read, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def plain(state: Mapping[str, object], read: Read, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict, its floats in fp32 and contiguous.

    Args:
        state: Tensors, described or real, by name. Other values are skipped unless a parameter has their name.
        read: Reads a tensor of ``state``.
        expected: The network's own parameters and buffers; their names and types are used.

    Raises:
        UnreadableError: A weight is not a tensor of floating point.
    """
    weights = {name for name, tensor in expected.items() if tensor.is_floating_point()}
    result: dict[str, Tensor] = {}
    unusable = packed(state)
    for name, value in state.items():
        tensor = read(value) if isinstance(value, Tensor | TensorRef) else None
        if name in weights and (tensor is None or not is_plain(tensor)):
            unusable.append(name)
        elif tensor is not None:
            result[name] = tensor.float().contiguous() if is_plain(tensor) else tensor
    refuse_packed(unusable)
    return result


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds plain weights: numbers of fewer than 16 bits need scales that are stored elsewhere."""
    return tensor.dtype in _FLOATS and tensor.layout == torch.strided


def packed(state: Mapping[str, object]) -> list[str]:
    """Names of weights that PyTorch's quantised layers store packed for their engine."""
    return [name for name in state if "_packed_params" in name.split(".")]


def refuse_packed(names: Collection[str]) -> None:
    if names:
        raise UnreadableError(
            f"holds weights that are not plain floating-point tensors: {shorten(names)}",
            "Give the weights from before quantisation, in fp32, fp16 or bf16.",
        )
