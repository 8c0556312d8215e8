"""From a weights file to a loaded :class:`~evim_deploy.networks.efficientvim.model.EfficientViM`.

There are two steps. :func:`read_checkpoint` finds the state dict in the file, converts it to canonical names and
shapes, and recognises the model from them. :func:`load_model` compares it with the model that the user asked for.
Nothing in a file is executed (see :mod:`evim_deploy.weights.checkpoint.safe_pickle`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evim_deploy.catalog.variants import MIN_CLASSES, VARIANTS, ModelName, Variant
from evim_deploy.common.errors import BadInput
from evim_deploy.networks.efficientvim.model import EfficientViM
from evim_deploy.networks.efficientvim.state_dict import canonical, recognise
from evim_deploy.weights.checkpoint.reading import check_numbers, open_checkpoint, refuse_misfit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of one EfficientViM.

    Attributes:
        state: Tensors by canonical name, in canonical shapes, fp32; without ``num_batches_tracked``.
        model: The model with these shapes.
        num_classes: Rows of each head.
        sha256: SHA-256 of the file's bytes, in hex; of several files over their names and bytes.
        entry: The entry of the file with the weights, dotted where nested; "" for a bare state dict.
        note: The place of the weights in the file and how they were chosen, for users; "" for a bare state dict.
        source: Its name in messages.
    """

    state: dict[str, Tensor]
    model: ModelName
    num_classes: int
    sha256: str
    entry: str
    note: str = ""
    source: str = "the checkpoint"


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a file of ``torch.save`` (zip or older) or safetensors, recognised by its content.

    Args:
        path: Path of the file, of the index of several files, or of a folder with one of these.

    Raises:
        BadInput: The file cannot be opened, is damaged, of another kind, or does not hold a published EfficientViM.
    """
    with open_checkpoint(path, _own_networks()) as (sha256, location, read):
        tensors = canonical(location.state, read)
        model, num_classes = recognise(tensors)
        return Checkpoint(
            state=tensors,
            model=model,
            num_classes=num_classes,
            sha256=sha256,
            entry=location.entry,
            note=location.note,
            source=str(path),
        )


def _own_networks() -> list[Collection[str]]:
    """The names of all parameters and buffers of each variant, distilled."""
    return [_names_of(variant) for variant in VARIANTS.values()]


@functools.cache
def _names_of(variant: Variant) -> Collection[str]:
    with torch.device("meta"):
        return EfficientViM(variant, MIN_CLASSES, distilled=True).state_dict().keys()


def load_model(checkpoint: Checkpoint, expected: ModelName, num_classes: int | None) -> EfficientViM:
    """The model with the checkpoint's weights, in eval mode and without gradients.

    Args:
        checkpoint: A result of :func:`read_checkpoint`.
        expected: The model that the user asked for.
        num_classes: Number of classes that the user asked for; None for the checkpoint's.

    Raises:
        BadInput: The checkpoint is of another model or number of classes, its names or shapes differ from the
            model's, or it holds NaN, infinity or a negative variance.
    """
    source, actual = checkpoint.source, checkpoint.model
    if actual != expected:
        raise BadInput(f"{source} holds {actual.name}, not {expected.name}.", f"Use {actual.short} for the model.")
    if checkpoint.num_classes < MIN_CLASSES:
        raise BadInput(f"{source} has only {checkpoint.num_classes} class.", "Give a classifier's weights.")
    if num_classes not in (None, checkpoint.num_classes):
        raise BadInput(
            f"{source} has {checkpoint.num_classes} classes, not {num_classes}.",
            f"Ask for {checkpoint.num_classes} classes, or leave the number out.",
        )
    # The meta device saves initial values that would be overwritten.
    with torch.device("meta"):
        model = EfficientViM(actual.variant, checkpoint.num_classes, actual.distilled)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in counters}
    _check_names(checkpoint, shapes)
    check_numbers(checkpoint.state, source)
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    state |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _check_names(checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> None:
    """Raise BadInput unless the checkpoint has these names and shapes."""
    state = checkpoint.state
    differing = {name: (shape, state[name].shape) for name, shape in shapes.items() if name in state}
    refuse_misfit(
        checkpoint.source,
        checkpoint.model.name,
        missing=[name for name in shapes if name not in state],
        unexpected=[name for name in state if name not in shapes],
        differing={name: pair for name, pair in differing.items() if pair[0] != pair[1]},
    )
