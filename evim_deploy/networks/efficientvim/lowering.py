"""Lowers the reference network to a graph, operation by operation, without rewrites.

The graph computes the same as :mod:`evim_deploy.networks.efficientvim.model`, on float64 weights under the
checkpoint's own names; :mod:`evim_deploy.graph.rewrites` then rewrites it. Its input is RGB pixels 0-255, or with
``preprocess=False`` the normalised tensor that the reference itself reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
from torch import Tensor, nn

from evim_deploy.catalog.terms import Task
from evim_deploy.graph.ir import Graph
from evim_deploy.graph.ops import validate
from evim_deploy.graph.quantised import Array
from evim_deploy.images import preprocessing
from evim_deploy.networks.efficientvim.model import (
    HSMSSD,
    LAYER_NORM_EPS,
    Block,
    ChannelNorm,
    ConvNorm,
    Downsample,
    EfficientViM,
    SqueezeExcite,
    Stage,
)

INPUT_NAME = "image"
FEATURE_OUTPUTS = ("stride16", "stride32", "stride64")


def lower(model: EfficientViM, task: str, output: str, preprocess: bool) -> Graph:
    """The graph of a model in evaluation mode.

    Args:
        model: The reference.
        task: ``classify`` (one output (B, classes)) or ``features`` (the three maps at strides 16, 32, 64).
        output: ``logits`` or ``probabilities``; ignored for ``features``.
        preprocess: Whether the input is RGB pixels 0-255 or a normalised tensor.
    """
    graph = Graph(INPUT_NAME)
    x = _normalise(graph, INPUT_NAME) if preprocess else INPUT_NAME
    x = _stem(graph, x, model)
    maps, states = [], []
    for s, stage in enumerate(cast("Iterable[Stage]", model.stages)):
        for b, block in enumerate(stage.blocks):
            x, h = _block(graph, x, cast("Block", block), f"stages.{s}.blocks.{b}")
        maps.append(x)
        states.append(h)
        if stage.downsample is not None:
            x = _downsample(graph, x, stage.downsample, f"stages.{s}.downsample")
    if task == Task.FEATURES:
        graph.outputs = dict(zip(FEATURE_OUTPUTS, maps, strict=True))
    else:
        logits = _fusion(graph, [*states, maps[-1]], model)
        value = graph.add("softmax_channels", [logits], "probabilities") if output == "probabilities" else logits
        graph.outputs = {output: value}
    graph.prune()
    validate(graph)
    return graph


def _normalise(graph: Graph, x: str) -> str:
    mean, std = (np.array(values, dtype=np.float64) for values in (preprocessing.MEAN, preprocessing.STD))
    x = graph.add("shift", [x], "preprocess.mean", {"bias": -255 * mean})
    return graph.add("scale", [x], "preprocess.std", {"scale": 1 / (255 * std)})


def _stem(graph: Graph, x: str, model: EfficientViM) -> str:
    convs = model.patch_embed.conv
    for i, conv in enumerate(convs):
        x = _conv_norm(graph, x, cast("ConvNorm", conv), f"patch_embed.conv.{i}")
        if i + 1 < len(convs):
            x = graph.add("relu", [x], f"patch_embed.conv.{i}.relu")
    return x


def _block(graph: Graph, x: str, block: Block, path: str) -> tuple[str, str]:
    gates = 1 / (1 + np.exp(-_array(block.alpha)))  # (4, D)

    def residual(step: int, x: str, branch: str) -> str:
        name = f"{path}.residual{step}"
        identity = graph.add("scale", [x], f"{name}.keep", {"scale": 1 - gates[step]})
        gated = graph.add("scale", [branch], f"{name}.gate", {"scale": gates[step]})
        return graph.add("add", [identity, gated], name)

    x = residual(0, x, _conv_norm(graph, x, block.dwconv1, f"{path}.dwconv1"))
    mixed, h = _mixer(graph, _channel_norm(graph, x, block.norm, f"{path}.norm"), block.mixer, f"{path}.mixer")
    x = residual(1, x, mixed)
    x = residual(2, x, _conv_norm(graph, x, block.dwconv2, f"{path}.dwconv2"))
    hidden = graph.add("relu", [_conv_norm(graph, x, block.ffn.fc1, f"{path}.ffn.fc1")], f"{path}.ffn.relu")
    return residual(3, x, _conv_norm(graph, hidden, block.ffn.fc2, f"{path}.ffn.fc2")), h


def _mixer(graph: Graph, u: str, mixer: HSMSSD, path: str) -> tuple[str, str]:
    n, d = mixer.states, mixer.out_proj.conv.out_channels
    projected = _conv(graph, u, _array(mixer.BCdt_proj.conv.weight)[..., None], f"{path}.BCdt_proj")
    bcdt = _conv(graph, projected, _array(mixer.dw.conv.weight), f"{path}.dw", padding=1, groups=3 * n)
    bcdt = graph.add("flatten", [bcdt], f"{path}.BCdt")
    b, c, dt = f"{path}.B", f"{path}.C", f"{path}.dt"
    graph.add("split", [bcdt], b, outputs=(b, c, dt), sections=(n, n, n))
    shifted = graph.add("shift", [dt], f"{path}.A", {"bias": _array(mixer.A)})
    importance = graph.add("softmax_tokens", [shifted], f"{path}.importance")
    weighted = graph.add("multiply", [importance, b], f"{path}.AB")
    h_in = graph.add("state_update", [graph.add("flatten", [u], f"{path}.u"), weighted], f"{path}.h_in")

    hz = graph.add("pointwise_conv", [h_in], f"{path}.hz_proj", {"kernel": _array(mixer.hz_proj.conv.weight)[..., 0]})
    g, z = f"{path}.g", f"{path}.z"
    graph.add("split", [hz], g, outputs=(g, z), sections=(d, d))
    gated = graph.add("multiply", [g, graph.add("silu", [z], f"{path}.silu")], f"{path}.gated")
    skipped = graph.add("scale", [g], f"{path}.D", {"scale": _array(mixer.D)})
    mixed = graph.add("add", [gated, skipped], f"{path}.mixed")
    h = graph.add("pointwise_conv", [mixed], f"{path}.out_proj", {"kernel": _array(mixer.out_proj.conv.weight)[..., 0]})

    y = graph.add("state_readout", [h, c], f"{path}.y")
    return graph.add("unflatten", [y, u], f"{path}.y.map"), h


def _downsample(graph: Graph, x: str, down: Downsample, path: str) -> str:
    expand, shrink, squeeze, project = down.conv
    x = graph.add("add", [x, _conv_norm(graph, x, down.dwconv1, f"{path}.dwconv1")], f"{path}.residual1")
    x = graph.add("relu", [_conv_norm(graph, x, cast("ConvNorm", expand), f"{path}.conv.0")], f"{path}.conv.0.relu")
    x = graph.add("relu", [_conv_norm(graph, x, cast("ConvNorm", shrink), f"{path}.conv.1")], f"{path}.conv.1.relu")
    x = _squeeze_excite(graph, x, cast("SqueezeExcite", squeeze), f"{path}.conv.2")
    x = _conv_norm(graph, x, cast("ConvNorm", project), f"{path}.conv.3")
    return graph.add("add", [x, _conv_norm(graph, x, down.dwconv2, f"{path}.dwconv2")], f"{path}.residual2")


def _squeeze_excite(graph: Graph, x: str, squeeze: SqueezeExcite, path: str) -> str:
    mean = graph.add("mean", [x], f"{path}.mean", keep=True)
    hidden = _conv(graph, mean, _array(squeeze.fc1.weight), f"{path}.fc1", bias=_array(_present(squeeze.fc1.bias)))
    hidden = graph.add("relu", [hidden], f"{path}.relu")
    gate = _conv(graph, hidden, _array(squeeze.fc2.weight), f"{path}.fc2", bias=_array(_present(squeeze.fc2.bias)))
    return graph.add("multiply", [x, graph.add("sigmoid", [gate], f"{path}.sigmoid")], path)


def _fusion(graph: Graph, features: list[str], model: EfficientViM) -> str:
    pooled = [
        graph.add(
            "mean", [_channel_norm(graph, x, cast("ChannelNorm", norm), f"norm.{i}")], f"norm.{i}.mean", keep=False
        )
        for i, (x, norm) in enumerate(zip(features, model.norm, strict=True))
    ]
    logits = _weighted_heads(graph, pooled, model.heads, model.weights, "heads")
    if model.distilled:
        twin = _weighted_heads(graph, pooled, model.heads_dist, model.weights_dist, "heads_dist")
        both = graph.add("add", [logits, twin], "distilled.sum")
        logits = graph.add("scale", [both], "distilled", {"scale": np.array([0.5])})
    return logits


def _weighted_heads(graph: Graph, pooled: list[str], heads: nn.ModuleList, weights: Tensor, path: str) -> str:
    exponentials = np.exp(_array(weights) - _array(weights).max())
    shares = exponentials / exponentials.sum()  # (4,)
    total: str | None = None
    for i, (x, head) in enumerate(zip(pooled, heads, strict=True)):
        linear = cast("nn.Linear", head)
        logits = graph.add(
            "linear", [x], f"{path}.{i}", {"kernel": _array(linear.weight), "bias": _array(_present(linear.bias))}
        )
        logits = graph.add("scale", [logits], f"{path}.{i}.share", {"scale": shares[i : i + 1]})
        total = logits if total is None else graph.add("add", [total, logits], f"{path}.{i}.sum")
    return cast("str", total)


def _channel_norm(graph: Graph, x: str, norm: ChannelNorm, path: str) -> str:
    x = graph.add("layer_norm", [x], path, eps=LAYER_NORM_EPS)
    x = graph.add("scale", [x], f"{path}.weight", {"scale": _array(norm.weight).ravel()})
    return graph.add("shift", [x], f"{path}.bias", {"bias": _array(norm.bias).ravel()})


def _conv_norm(graph: Graph, x: str, module: ConvNorm, path: str) -> str:
    conv, norm = module.conv, module.norm
    x = _conv(
        graph,
        x,
        _array(conv.weight),
        f"{path}.conv",
        stride=conv.stride[0],
        padding=conv.kernel_size[0] // 2,
        groups=conv.groups,
    )
    weights = {
        "gamma": _array(norm.weight),
        "beta": _array(norm.bias),
        "mean": _array(_present(norm.running_mean)),
        "variance": _array(_present(norm.running_var)),
    }
    return graph.add("batch_norm", [x], f"{path}.norm", weights, eps=norm.eps)


def _conv(
    graph: Graph,
    x: str,
    kernel: Array,
    name: str,
    *,
    bias: Array | None = None,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> str:
    weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    return graph.add("conv", [x], name, weights, stride=stride, padding=padding, groups=groups)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()


def _present(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise TypeError("the reference builds this module with a bias and running statistics")
    return tensor
