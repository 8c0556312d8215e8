"""Canonical names and shapes of a state dict, and the model that has them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from torch import Tensor

from evim_deploy.catalog.variants import VARIANTS, ModelName
from evim_deploy.networks.efficientvim.model import NUM_STAGES
from evim_deploy.weights.checkpoint.names import COUNTER, shorten
from evim_deploy.weights.checkpoint.plain import is_plain, packed, refuse_packed
from evim_deploy.weights.checkpoint.safe_pickle import TensorRef
from evim_deploy.weights.checkpoint.torch_file import SAVE_STATE, Read, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping


_OWN = re.compile(r"(patch_embed|stages|norm|weights|weights_dist|heads|heads_dist)(\..*)?")
_LAYER_NORM = re.compile(r"(stages\.[0-9]+\.blocks\.[0-9]+\.norm|norm\.[0-9]+)\.(weight|bias)")
_BLOCK = re.compile(r"stages\.([0-9]+)\.blocks\.([0-9]+)\.(.+)")
_HEAD = re.compile(r"heads(_dist)?\.[0-9]+\.(weight|bias)")
_GLOBAL_NORM = f"norm.{NUM_STAGES}."
"""The LayerNorm of the last map, (B, D, H, W); the others are of tokens or states, (B, D, L)."""


def canonical(state: Mapping[str, object], read: Read) -> dict[str, Tensor]:
    """The state dict in the released files' names and shapes, fp32, without ``num_batches_tracked``.

    Args:
        state: Tensors, described or real, by name. Other values are skipped unless a parameter has their name.
        read: Reads a tensor of ``state``.

    Raises:
        UnreadableError: A weight is not a tensor of floating point.
    """
    result: dict[str, Tensor] = {}
    unusable = packed(state)
    for name, value in state.items():
        if name.endswith(COUNTER):
            continue
        if not isinstance(value, Tensor | TensorRef):
            if _OWN.fullmatch(name):
                unusable.append(name)
            continue
        tensor = read(value)
        if not is_plain(tensor):
            unusable.append(name)
            continue
        result[name] = _reshape(name, tensor).float().contiguous()
    refuse_packed(unusable)
    return result


def _reshape(name: str, tensor: Tensor) -> Tensor:
    """A LayerNorm's parameter from timm's shape (D,) to (1, D, 1) or (1, D, 1, 1); others as they are."""
    if tensor.ndim != 1 or not _LAYER_NORM.fullmatch(name):
        return tensor
    return tensor[None, :, None, None] if name.startswith(_GLOBAL_NORM) else tensor[None, :, None]


def recognise(state: Mapping[str, Tensor]) -> tuple[ModelName, int]:
    """The model of a canonical state dict, and its number of classes.

    The most frequent width counts, so a tensor may be missing or of a wrong shape.

    Raises:
        UnreadableError: It is not an EfficientViM, only a part of one, or has unpublished widths.
    """
    blocks: dict[int, set[int]] = defaultdict(set)
    channels: dict[int, Counter[int]] = defaultdict(Counter)
    states: dict[int, Counter[int]] = defaultdict(Counter)
    classes: Counter[int] = Counter()
    for name, tensor in state.items():
        if match := _BLOCK.fullmatch(name):
            stage = int(match[1])
            blocks[stage].add(int(match[2]))
            if match[3] == "alpha" and tensor.ndim == 2:
                channels[stage][tensor.shape[1]] += 1
            if match[3] == "mixer.A":
                states[stage][tensor.numel()] += 1
        elif _HEAD.fullmatch(name) and tensor.ndim:
            classes[tensor.shape[0]] += 1
    if not channels or not states:
        content = f"it holds {shorten(state)}" if state else "it holds no weights"
        raise UnreadableError(
            f"is not an EfficientViM checkpoint: {content}",
            "Give the weights of an EfficientViM, as its authors or timm name them.",
        )
    stages = range(NUM_STAGES)
    if set(blocks) != set(stages) or any(not channels[stage] or not states[stage] for stage in stages) or not classes:
        raise UnreadableError(
            "holds only a part of an EfficientViM: it lacks "
            + ("the classifier heads" if set(blocks) >= set(stages) and not classes else "whole stages"),
            SAVE_STATE,
        )
    depths = tuple(len(blocks[stage]) for stage in stages)
    widths, counts = (tuple(votes[stage].most_common(1)[0][0] for stage in stages) for votes in (channels, states))
    for variant in VARIANTS.values():
        if (variant.depths, variant.channels, variant.states) == (depths, widths, counts):
            distilled = any(name.startswith("heads_dist.") for name in state)
            return ModelName(variant, distilled), classes.most_common(1)[0][0]
    raise UnreadableError(
        f"holds an EfficientViM of unpublished size: blocks {depths}, channels {widths}, states {counts}",
        "Give one of the published sizes (`evim-deploy models` lists them).",
    )
