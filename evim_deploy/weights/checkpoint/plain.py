"""The plain floating-point tensors of a state dict, for a network of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evim_deploy.weights.checkpoint.names import shorten
from evim_deploy.weights.checkpoint.safe_pickle import TensorRef
from evim_deploy.weights.checkpoint.torch_file import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def plain(state: Mapping[str, Any], read: Callable[[Any], Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict, its floats in fp32 and contiguous.

    Args:
        state: Tensors, described or real, by name. Values of other kinds are passed over where no parameter of the
            network has their name.
        read: From a tensor of ``state`` to a real one.
        expected: The network's own parameters and buffers, of which the names and types are used.

    Raises:
        UnreadableError: A weight is no tensor, or not of floating point.
    """
    weights = {name for name, tensor in expected.items() if tensor.is_floating_point()}
    result: dict[str, Tensor] = {}
    refused = packed(state)
    for name, value in state.items():
        tensor = read(value) if isinstance(value, Tensor | TensorRef) else None
        if name in weights and (tensor is None or not is_plain(tensor)):
            refused.append(name)
        elif tensor is not None:
            result[name] = tensor.float().contiguous() if is_plain(tensor) else tensor
    refuse_packed(refused)
    return result


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds weights as they are: numbers of fewer bits than 16 need scales that lie elsewhere."""
    return tensor.dtype in _FLOATS and tensor.layout == torch.strided


def packed(state: Mapping[str, Any]) -> list[str]:
    """The weights that PyTorch's quantised layers keep in a form of their engine's."""
    return [name for name in state if "_packed_params" in name.split(".")]


def refuse_packed(names: Collection[str]) -> None:
    if names:
        raise UnreadableError(
            f"holds weights that are not plain floating-point tensors: {shorten(names)}",
            "Give the weights from before quantisation, in fp32, fp16 or bf16.",
        )
