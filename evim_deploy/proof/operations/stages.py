"""The place of an operation in the model, and the outputs of the model's stages without rewriting."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from evim_deploy.artifact.target import Target
from evim_deploy.catalog.terms import Output, Task
from evim_deploy.graph.ir import Graph
from evim_deploy.images.preprocessing import normalise
from evim_deploy.networks.efficientvim.lowering import FEATURE_OUTPUTS
from evim_deploy.networks.efficientvim.model import EfficientViM

_PLACES = (
    (r"preprocess\.", "input"),
    (r"patch_embed\.", "stem"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.mixer\.", "stage {0}, block {1}, mixer"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.ffn\.", "stage {0}, block {1}, FFN"),
    (r"stages\.(\d+)\.blocks\.(\d+)\.", "stage {0}, block {1}"),
    (r"stages\.(\d+)\.downsample\.conv\.2", "stage {0}, down-sampling, squeeze-and-excitation"),
    (r"stages\.(\d+)\.downsample\.", "stage {0}, down-sampling"),
    (r"norm\.|heads", "head"),
)
_STAGES = re.compile(r"patch_embed|stages\.\d+\.(blocks\.\d+|downsample)")


def place(name: str) -> str:
    """The place of an operation in the model, for people; stages and blocks count from 0, as in the names."""
    for pattern, text in _PLACES:
        match = re.match(pattern, name)
        if match is not None:
            return text.format(*match.groups())
    return "output"


def stage_values(graph: Graph) -> dict[str, str]:
    """The graph's value of each stage, by the stage's path in the model, and the outputs by their names."""
    values = {}
    for node in graph.nodes:
        match = _STAGES.match(node.name)
        if match is not None and not node.is_floating:  # which is the copy for a head
            values[match.group()] = node.name
    return {**values, **graph.outputs}


def reference_stages(model: EfficientViM, target: Target, image: Tensor) -> Mapping[str, Tensor]:
    """The reference's values after each stage, by its path in the model, and its outputs by their names.

    Args:
        model: The reference, in evaluation mode.
        target: The artifact's target.
        image: The artifact's input, (B, 3, H, W), float64.

    Returns:
        Maps (B, D, H, W) and logits or probabilities (B, classes), in float64.
    """
    values: dict[str, Tensor] = {}

    def recorder(path: str) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
        def record(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            values[path] = output[0] if isinstance(output, tuple) else output  # a block returns its states, too

        return record

    network = copy.deepcopy(model).double()
    for path, module in network.named_modules():
        if _STAGES.fullmatch(path):
            module.register_forward_hook(recorder(path))
    if target.preprocess:
        image = torch.from_numpy(normalise(image.numpy()))
    with torch.no_grad():
        if target.task == Task.FEATURES:
            values.update(zip(FEATURE_OUTPUTS, network.features(image), strict=True))
            return values
        logits = network(image)
        values[target.output] = torch.softmax(logits, 1) if target.output == Output.PROBABILITIES else logits
    return values
