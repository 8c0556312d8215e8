"""The inference form of a torch module: timm's own rewrites, then every BatchNorm folded into the layer before it.

    BN(W * x + b) = (g W) * x + g (b - mean) + beta        g = gamma / sqrt(variance + eps)

A layer scale, gamma x for each channel, is a BatchNorm of mean 0 and variance 1, and is folded likewise. A converter
would fold it after the weights were rounded to float16, and round the product once more.

timm's ``reparameterize_model`` calls a network's own method, which some networks lack. A BatchNorm that is left after
it is folded where it is the sole consumer of the output of one convolution or linear layer; a prediction shows which
layer that is, whatever the modules are called. A BatchNorm without such a layer stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, LayerScale2d
from timm.models import fastvit
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from evim_deploy.graph.rewrites.rewrite import RewriteResult

REPARAMETERISED, FOLDED, SCALES_FOLDED = "reparameterised by timm", "folded", "layer scales folded"
_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, nn.Linear)
"""Exactly these classes: a subclass may compute its kernel at each prediction."""

_LAYER_SCALES = (LayerScale2d, fastvit.LayerScale2d)
_DROPOUTS = (nn.Dropout, nn.Dropout2d)
_NOUNS = {"batch_norm": "BatchNorm", "layer_scale": "layer scale"}


def fold(model: nn.Module, images: Tensor) -> list[RewriteResult]:
    """Bring a model into its inference form, in place.

    Args:
        model: A model in evaluation mode.
        images: Normalised images (B, 3, H, W), as small as it accepts.

    Returns:
        The results for the BatchNorms by timm and by folding, and for the layer scales.
    """
    before = _batch_norms(model)
    reparameterize_model(model, inplace=True)
    left = _batch_norms(model)
    for dropout in [module for module in model.modules() if isinstance(module, _DROPOUTS)]:
        _replace(model, dropout, nn.Identity())  # it returns the tensor itself
    scales: dict[_BatchNorm, nn.Module] = {
        _as_norm(module): module for module in model.modules() if isinstance(module, _LAYER_SCALES)
    }
    for norm, scale in scales.items():
        _replace(model, scale, norm)
    pairs = _pairs(model, images)
    for norm, layer in pairs.items():
        _absorb(layer, norm)
        _replace(model, norm, _after_norm(norm))
    for norm, scale in scales.items():
        _replace(model, norm, scale)
    unfolded = tuple((name, _UNFOLDED) for name, module in model.named_modules() if isinstance(module, _BatchNorm))
    folded = len(pairs.keys() - scales.keys())
    return [
        _result(REPARAMETERISED, before - left),
        _result(FOLDED, folded, unfolded),
        _result(SCALES_FOLDED, len(pairs) - folded, noun="layer_scale"),
    ]


def _as_norm(scale: nn.Module) -> nn.BatchNorm2d:
    gamma = scale.get_parameter("gamma").detach()
    norm = nn.BatchNorm2d(gamma.numel(), eps=0.0, dtype=gamma.dtype).eval().requires_grad_(False)
    norm.weight.copy_(gamma.flatten())  # (C)
    return norm


_UNFOLDED = "it is not the sole consumer of one layer's output"


def _result(
    rewrite: str, count: int, refused: tuple[tuple[str, str], ...] = (), noun: str = "batch_norm"
) -> RewriteResult:
    return RewriteResult(
        rewrite=rewrite,
        applied=count,
        removed=Counter({noun: count} if count else {}),
        added=Counter(),
        refused=refused,
    )


def describe(results: Iterable[RewriteResult]) -> list[str]:
    """The results of :func:`fold` in words."""
    results = list(results)
    counts = [(count, noun, result.rewrite) for result in results for noun, count in result.removed.items()]
    counts.append((sum(len(result.refused) for result in results), "batch_norm", "left"))
    return [_phrase(count, _NOUNS[noun], done) for count, noun, done in counts if count] or ["no BatchNorms"]


def _phrase(count: int, noun: str, done: str) -> str:
    return f"{count} {noun if count == 1 else f'{noun}s'} {done.removeprefix(f'{noun}s ')}"


def _batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


class _Uses(TorchFunctionMode):
    """Counts the consumers of each watched tensor.

    A function without a tensor among its results, which only reads a shape or type, does not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[int, Tensor] = {}  # alive, so that no other tensor gets its id
        self.count: Counter[int] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if any(isinstance(value, Tensor) for value in flat([result])):
            consumed = {id(value) for value in flat([*args, *kwargs.values()]) if isinstance(value, Tensor)}
            self.count.update(consumed & self.watched.keys())
        return result


def flat(values: Iterable[object]) -> Iterable[object]:
    """The elements of lists within lists."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


def _pairs(model: nn.Module, images: Tensor) -> dict[_BatchNorm, nn.Module]:
    """Each BatchNorm that can be folded, and the layer before it: the BatchNorm is its sole consumer, both run once."""
    uses = _Uses()
    producers: dict[int, nn.Module] = {}
    calls: Counter[nn.Module] = Counter()
    candidates: dict[_BatchNorm, tuple[nn.Module, int]] = {}

    def record_layer(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[layer] += 1
        producers[id(output)] = layer
        uses.watched[id(output)] = output

    def record_norm(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, _BatchNorm)
        calls[norm] += 1
        source = id(inputs[0])
        has_channels_at_axis_1 = isinstance(producers.get(source), nn.Linear) <= (inputs[0].ndim == 2)
        if source in producers and has_channels_at_axis_1 and norm.running_mean is not None:
            candidates[norm] = producers[source], source

    handles = [m.register_forward_hook(record_layer) for m in model.modules() if type(m) in _FOLDABLE]
    handles += [m.register_forward_hook(record_norm) for m in model.modules() if isinstance(m, _BatchNorm)]
    with torch.no_grad(), uses:
        model(images)
    for handle in handles:
        handle.remove()
    return {
        norm: layer
        for norm, (layer, output) in candidates.items()
        if calls[norm] == calls[layer] == uses.count[output] == 1
    }


def _absorb(layer: nn.Module, norm: _BatchNorm) -> None:
    """Fold the BatchNorm after a layer into its weights, in float64."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    mean, variance = (norm.get_buffer(name).double() for name in ("running_mean", "running_var"))
    gamma = torch.rsqrt(variance + norm.eps)  # (O,)
    beta = torch.zeros_like(gamma)
    if norm.affine:
        gamma, beta = gamma * norm.weight.double(), norm.bias.double()
    bias = 0 if layer.bias is None else layer.bias.double()
    kernel = layer.weight.double() * gamma.view(-1, *(1,) * (layer.weight.ndim - 1))
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(kernel.to(dtype).detach(), requires_grad=False)
    layer.bias = nn.Parameter((beta + gamma * (bias - mean)).to(dtype).detach(), requires_grad=False)


def _after_norm(norm: _BatchNorm) -> nn.Module:
    """The dropout and activation that timm's BatchNorms include."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
