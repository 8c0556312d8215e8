"""The inference form of a torch module: timm's own rewrites first, then every BatchNorm into what it follows.

    BN(W * x + b) = (g W) * x + g (b - mean) + beta        g = gamma / sqrt(variance + eps)

A layer scale, gamma x for each channel, is a BatchNorm of mean 0 and variance 1, and goes the same way. Left to a
converter it would be folded after the weights were rounded to float16, and the product rounded once more.

timm's ``reparameterize_model`` calls what a network has for the purpose, which for some is nothing. A BatchNorm
that is left after it is folded where it normalises the output of one convolution or linear layer that nothing
else takes; which layer that is shows in a prediction, whatever the modules are called. A BatchNorm without such a
layer stays as it is.
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
"""Exactly these: a class made from one of them may compute its kernel anew at each prediction."""

_LAYER_SCALES = (LayerScale2d, fastvit.LayerScale2d)
_DROPOUTS = (nn.Dropout, nn.Dropout2d)
_NOUNS = {"batch_norm": "BatchNorm", "layer_scale": "layer scale"}


def fold(model: nn.Module, images: Tensor) -> list[RewriteResult]:
    """Bring a model into its inference form, in place.

    Args:
        model: In evaluation mode.
        images: That it takes, (B, 3, H, W); small ones do.

    Returns:
        What became of the BatchNorms, of the second rewrite where one is left, and of the layer scales.
    """
    before = _batch_norms(model)
    reparameterize_model(model, inplace=True)
    left = _batch_norms(model)
    for dropout in [module for module in model.modules() if isinstance(module, _DROPOUTS)]:
        _replace(model, dropout, nn.Identity())  # which passes on the tensor itself
    scales: dict[_BatchNorm, nn.Module] = {
        _as_norm(module): module for module in model.modules() if isinstance(module, _LAYER_SCALES)
    }
    for norm, scale in scales.items():
        _replace(model, scale, norm)
    pairs = _pairs(model, images)
    for norm, layer in pairs.items():
        _absorb(layer, norm)
        _replace(model, norm, _what_follows(norm))
    for norm, scale in scales.items():
        _replace(model, norm, scale)
    kept = tuple((name, _KEPT) for name, module in model.named_modules() if isinstance(module, _BatchNorm))
    folded = len(pairs.keys() - scales.keys())
    return [
        _outcome(REPARAMETERISED, before - left),
        _outcome(FOLDED, folded, kept),
        _outcome(SCALES_FOLDED, len(pairs) - folded, what="layer_scale"),
    ]


def _as_norm(scale: nn.Module) -> nn.BatchNorm2d:
    gamma = scale.get_parameter("gamma").detach()
    norm = nn.BatchNorm2d(gamma.numel(), eps=0.0, dtype=gamma.dtype).eval().requires_grad_(False)
    norm.weight.copy_(gamma.flatten())  # (C)
    return norm


_KEPT = "it does not normalise the output of one layer that nothing else takes"


def _outcome(
    rewrite: str, count: int, refused: tuple[tuple[str, str], ...] = (), what: str = "batch_norm"
) -> RewriteResult:
    return RewriteResult(
        rewrite=rewrite,
        applied=count,
        removed=Counter({what: count} if count else {}),
        added=Counter(),
        refused=refused,
    )


def in_words(outcomes: Iterable[RewriteResult]) -> list[str]:
    """What :func:`fold` did, for people."""
    outcomes = list(outcomes)
    counts = [(count, what, outcome.rewrite) for outcome in outcomes for what, count in outcome.removed.items()]
    counts.append((sum(len(outcome.refused) for outcome in outcomes), "batch_norm", "left"))
    return [_told(count, _NOUNS[what], done) for count, what, done in counts if count] or ["no BatchNorms"]


def _told(count: int, noun: str, done: str) -> str:
    return f"{count} {noun if count == 1 else f'{noun}s'} {done.removeprefix(f'{noun}s ')}"


def _batch_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


class _Uses(TorchFunctionMode):
    """Counts the operations that take each of some tensors.

    What only asks a tensor for its shape or type gives no tensor, and does not count.
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
            taken = {id(value) for value in flat([*args, *kwargs.values()]) if isinstance(value, Tensor)}
            self.count.update(taken & self.watched.keys())
        return result


def flat(values: Iterable[Any]) -> Iterable[Any]:
    """The elements of lists within lists."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


def _pairs(model: nn.Module, images: Tensor) -> dict[_BatchNorm, nn.Module]:
    """Each BatchNorm that can be folded, and the layer whose output it alone takes; both are called once."""
    uses = _Uses()
    makers: dict[int, nn.Module] = {}
    calls: Counter[nn.Module] = Counter()
    found: dict[_BatchNorm, tuple[nn.Module, int]] = {}

    def made(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[layer] += 1
        makers[id(output)] = layer
        uses.watched[id(output)] = output

    def taken(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, _BatchNorm)
        calls[norm] += 1
        source = id(inputs[0])
        has_channels_at_axis_1 = isinstance(makers.get(source), nn.Linear) <= (inputs[0].ndim == 2)
        if source in makers and has_channels_at_axis_1 and norm.running_mean is not None:
            found[norm] = makers[source], source

    handles = [m.register_forward_hook(made) for m in model.modules() if type(m) in _FOLDABLE]
    handles += [m.register_forward_hook(taken) for m in model.modules() if isinstance(m, _BatchNorm)]
    with torch.no_grad(), uses:
        model(images)
    for handle in handles:
        handle.remove()
    return {
        norm: layer for norm, (layer, output) in found.items() if calls[norm] == calls[layer] == uses.count[output] == 1
    }


def _absorb(layer: nn.Module, norm: _BatchNorm) -> None:
    """Give a layer the weights of itself and the BatchNorm after it, computed in float64."""
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    mean, variance = (norm.get_buffer(name).double() for name in ("running_mean", "running_var"))
    gain = torch.rsqrt(variance + norm.eps)  # (O,)
    shift = torch.zeros_like(gain)
    if norm.affine:
        gain, shift = gain * norm.weight.double(), norm.bias.double()
    bias = 0 if layer.bias is None else layer.bias.double()
    kernel = layer.weight.double() * gain.view(-1, *(1,) * (layer.weight.ndim - 1))
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(kernel.to(dtype).detach(), requires_grad=False)
    layer.bias = nn.Parameter((shift + gain * (bias - mean)).to(dtype).detach(), requires_grad=False)


def _what_follows(norm: _BatchNorm) -> nn.Module:
    """What a BatchNorm does besides normalising."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
